"""What runs: containers, behind one protocol; see `reactor.runtime.protocol`."""
