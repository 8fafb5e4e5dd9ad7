"""The other side of a capture: a server that answers a client with what the captured server said."""
