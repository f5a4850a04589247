local function plain(s) return (s:gsub('[^\33-\126]', function(c) return c == ' ' and c or ('\\%03d'):format(c:byte()) end)) end
local function show(v, depth)
  if type(v) == 'string' then return "'" .. plain(v) .. "'" end
  if type(v) == 'number' then return ('%.17g'):format(v) end
  if v == cjson.null then return 'null' end
  if type(v) == 'function' then return 'function' end
  if type(v) ~= 'table' then return tostring(v) end
  if depth > 20 then return '...' end
  local t = {}
  for k, e in pairs(v) do t[#t + 1] = show(k, depth + 1) .. '=' .. show(e, depth + 1) end
  return '{' .. table.concat(t, ',') .. '}'
end
local function all(ok, ...)
  local t = {}
  for i = 1, select('#', ...) do t[i] = show((select(i, ...)), 0) end
  return (ok and 'ok ' or 'error ') .. table.concat(t, ' ')
end
return all(pcall(function()
