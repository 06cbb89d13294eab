"""One run of a Pulumi program: `program.py ENGINE`, with the engine's RunRequest (protobuf) on standard input.

Exit codes: 0 done; 32 failed, and the user has been told why through the engine's log.
Imports nothing of this project: it runs in the interpreter of the program's own virtual environment.
"""

import asyncio
import logging
import os
import runpy
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import grpc
import pulumi
from pulumi.runtime import reset_options, run_in_stack, set_all_config
from pulumi.runtime.proto import language_pb2

TOLD = 32


def main() -> int:
    # Ctrl-C reaches the whole terminal group: the engine decides what becomes of the run
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request = language_pb2.RunRequest.FromString(sys.stdin.buffer.read())
    reset_options(
        project=request.project,
        stack=request.stack,
        root_directory=request.info.root_directory,
        parallel=request.parallel,
        engine_address=sys.argv[1],
        monitor_address=request.monitor_address,
        preview=request.dryRun,
        organization=request.organization or "organization",
    )
    set_all_config(dict(request.config), list(request.configSecretKeys))
    entry = os.path.normpath(os.path.join(request.info.program_directory, request.info.entry_point))
    os.chdir(request.info.program_directory)
    sys.argv = [entry, *request.args]
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_default_executor(ThreadPoolExecutor(max_workers=max(request.parallel, 1) * 4))
    try:
        loop.run_until_complete(run_in_stack(lambda: run(entry)))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return TOLD
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.UNAVAILABLE:  # unavailable: the engine is ending, for a reason it has told
            pulumi.log.error(f"the engine did not answer: {error.details()}")
            return TOLD
    except SystemExit as error:
        if error.code:
            pulumi.log.error(f"the program ended with exit code {error.code}")
            return TOLD
    except Exception as error:
        pulumi.log.error(f"the program failed: {error}\n{program_traceback(error, entry)}")
        return TOLD
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                loop.run_until_complete(task)
    return 0


def run(entry: str) -> None:
    """The program itself: a folder with `__main__.py`, or a file."""
    runpy.run_path(entry, run_name="__main__")


def program_traceback(error: BaseException, entry: str) -> str:
    """The traceback from the program's first own line on."""
    frames = traceback.extract_tb(error.__traceback__)
    place = os.path.abspath(entry)
    files = [os.path.abspath(frame.filename) if os.path.exists(frame.filename) else "" for frame in frames]
    own = next((i for i, file in enumerate(files) if file.startswith(place)), 0)
    return "".join([*traceback.format_list(frames[own:]), *traceback.format_exception_only(error)])


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
