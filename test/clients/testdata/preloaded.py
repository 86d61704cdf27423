"""Runs commands of a Python program that is loaded once: preloaded.py SOCKET PROGRAM MODULE...

Loading the openstack client takes longer than most of its commands. This loads its
modules, listens on the unix socket SOCKET and forks for each command. A connection brings
one JSON line, {"args": [...], "env": {...}}, gets what PROGRAM prints with those, and as
the last line the word "exit" and the exit code. It ends when its standard input does.
"""

import gc
import importlib
import json
import os
import runpy
import select
import socket
import sys


def run(connection, program):
    """Returns in a child that is to run the program; others do not return."""
    request = json.loads(connection.makefile().readline())
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        connection.sendall(b"\nexit %d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for fd in 1, 2:
        os.dup2(connection.fileno(), fd)
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = [program] + request["args"]


def serve(path, program):
    """Returns in a child that is to run the program, and at the end."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(64)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([server, sys.stdin], [], [])
        if sys.stdin in ready:
            os._exit(0)
        connection, _ = server.accept()
        # The first child lives on to tell the exit code; its parent is not waited for.
        first = os.fork()
        if not first:
            if os.fork():
                os._exit(0)
            server.close()
            return run(connection, program)
        os.waitpid(first, 0)
        connection.close()


path, program, modules = sys.argv[1], sys.argv[2], sys.argv[3:]
sys.argv = [program]
for module in modules:
    importlib.import_module(module)
# The program's own module is loaded again for each command, as it may look at its
# arguments while it is loaded.
del sys.modules[modules[0]]
gc.freeze()
serve(path, program)
runpy.run_path(program, run_name="__main__")
