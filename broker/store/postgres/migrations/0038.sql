-- What tracing systems have noted of a signal's trace context goes on with it, as W3C Trace Context asks for.
ALTER TABLE signals ADD COLUMN tracestate text;
COMMENT ON COLUMN signals.tracestate IS 'The W3C tracestate that came with the traceparent, up to 512 characters.';
