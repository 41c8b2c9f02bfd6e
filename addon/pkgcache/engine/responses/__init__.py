"""What goes in and comes out: requests, responses, the bodies that stream, and the answers where nothing can be served."""
