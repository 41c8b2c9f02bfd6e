"""Where mitmproxy is: the only importer of it. What it hands over becomes a `Request`, and a `Response` becomes what it sends."""
