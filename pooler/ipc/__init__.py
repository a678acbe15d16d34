"""What passes between our processes: small messages, and descriptors.

Two ways lead into a worker. The *control channel* (`messages`, `channel`) is a stream between the master
and one worker: rare, structured, any size. The *inbox* (`inbox`, `fds`) is one datagram socket per process
into which every other process may drop a descriptor: frequent, fixed size, read by compiled code in the
workers.
"""
