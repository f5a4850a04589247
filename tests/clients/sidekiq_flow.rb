# Sidekiq's own flows over a running server: sidekiq_flow.rb PORT. Exits with 1 at the first difference.
# Debian's ruby-sidekiq; the worker is a process of its own.
PORT = ARGV.fetch(0)
ENV["IRONRING_PORT"] = PORT
require "tempfile"
require "timeout"
require_relative "sidekiq_app"
require "sidekiq/api"

# Seconds that a flow may take: many times what it needs on a busy machine.
LIMIT = 60

def check(wanted, found)
  raise "wanted #{wanted.inspect}, found #{found.inspect}" unless wanted == found
end

# The next `count` lines of the list `told`.
def told(count)
  Array.new(count) { Sidekiq.redis { |conn| conn.blpop("told", timeout: LIMIT) }.fetch(1) }
end

# Asks until the answer is `wanted`: for numbers that are written after a job has told.
def until_is(wanted)
  sleep 0.01 until yield == wanted
end

def jobs_run_once
  200.times { |n| Square.perform_async(n) }
  check((0...200).map { |n| "square #{n * n}" }.sort, told(200).sort)
  Square.perform_bulk((0...300).map { |n| [n] }, batch_size: 100)
  check((0...300).map { |n| "square #{n * n}" }.sort, told(300).sort)
  check(0, Sidekiq::Queue.new("flow").size)
end

def scheduled_jobs_wait_their_time
  start = Time.now
  Square.perform_in(1, 9)
  far = Square.perform_in(3600, 10)
  check(true, Sidekiq::ScheduledSet.new.any? { |job| job.jid == far })
  check(["square 81"], told(1))
  raise "too early" if Time.now - start < 0.9
  check([far], Sidekiq::ScheduledSet.new.map(&:jid))
  check(true, Sidekiq::ScheduledSet.new.find_job(far).delete)
  check(0, Sidekiq::ScheduledSet.new.size)
end

# Sidekiq would wait for half a minute and more before it tries again; an operator asks for it at once.
def retry_now
  until_is(1) { Sidekiq::RetrySet.new.size }
  Sidekiq::RetrySet.new.each(&:add_to_queue)
end

def failures_are_retried
  Failing.perform_async(1)
  retry_now
  check(["failing 2"], told(1))
  Failing.perform_async(50)
  2.times { retry_now }
  check(["exhausted 50"], told(1))
  until_is(1) { Sidekiq::DeadSet.new.size }
  dead = Sidekiq::DeadSet.new.first
  check([[50], "try 3"], [dead.args, dead["error_message"]])
  dead.delete
  check(0, Sidekiq::DeadSet.new.size + Sidekiq::RetrySet.new.size)
end

def the_processes_are_known
  until_is(1) { Sidekiq::ProcessSet.new.size }
  process = Sidekiq::ProcessSet.new.first
  check([4, ["flow"]], [process["concurrency"], process["queues"]])
  # The counters are flushed with the heartbeat.
  process.quiet!
  until_is(true) { Sidekiq::ProcessSet.new.first.stopping? }
  until_is(506) { Sidekiq::Stats.new.processed }
  Square.perform_async(1)
  check(1, Sidekiq::Queue.new("flow").size)
  check([1], Sidekiq::Queue.new("flow").first.args)
  Sidekiq::Queue.new("flow").clear
  check(0, Sidekiq::Stats.new.enqueued)
end

Sidekiq.redis(&:flushall)
log = Tempfile.new("sidekiq")
app = File.join(__dir__, "sidekiq_app.rb")
worker = spawn("sidekiq", "-r", app, "-c", "4", "-q", "flow", out: log.path, err: log.path)
begin
  [:jobs_run_once, :scheduled_jobs_wait_their_time, :failures_are_retried, :the_processes_are_known].each do |flow|
    start = Time.now
    Timeout.timeout(LIMIT) { send(flow) }
    puts "sidekiq #{Sidekiq::VERSION}: #{flow} ok, #{(Time.now - start).round(1)} s"
  end
rescue Exception
  warn File.read(log.path)[-5000..] || File.read(log.path)
  raise
ensure
  Process.kill("TERM", worker)
  Process.wait(worker)
end
check(0, Sidekiq::ProcessSet.new.size)
