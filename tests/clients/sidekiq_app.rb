# The jobs of sidekiq_flow.rb, for its client and for its worker process. Each tells the list `told` that it ran.
require "sidekiq"

Redis.silence_deprecations = true
ADDRESS = {url: "redis://127.0.0.1:#{ENV.fetch("IRONRING_PORT")}/0"}
Sidekiq.configure_client { |config| config.redis = ADDRESS }
Sidekiq.configure_server do |config|
  config.redis = ADDRESS
  # Seconds between two looks at what is scheduled or to be retried.
  config.options[:poll_interval_average] = 0.2
end

def tell(*what)
  Sidekiq.redis { |conn| conn.rpush("told", what.join(" ")) }
end

class Square
  include Sidekiq::Worker
  sidekiq_options queue: "flow"

  def perform(number)
    tell("square", number * number)
  end
end

class Failing
  include Sidekiq::Worker
  sidekiq_options queue: "flow", retry: 2
  sidekiq_retries_exhausted { |job| tell("exhausted", job["args"].first) }

  def perform(times)
    tries = Sidekiq.redis { |conn| conn.incr("tries:#{times}") }
    raise "try #{tries}" if tries <= times
    tell("failing", tries)
  end
end
