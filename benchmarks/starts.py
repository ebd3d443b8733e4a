"""Cold starts: new processes that import the app, and serve a first referral."""

import os
import re
import resource
import subprocess
import sys

PACKAGES = "import azure.functions, aiohttp, azure.identity.aio; from pydantic import BaseModel"
"""`import pydantic` alone loads next to nothing: it waits for a name to be asked for."""

FIRST = """
import asyncio, sys
sys.modules["opentelemetry"] = None
import function_app, azure.functions as func
from benchmarks.documents import SEED_ID
functions = {function.get_function_name(): function for function in function_app.app.get_functions()}
forward = functions["forward_referral"].get_user_function()
request = func.HttpRequest(method="POST", url="/", body=b"", route_params={"referralId": SEED_ID})
async def main():
    answer = await forward(request)
    assert answer.status_code == 200, answer.get_body()
    await function_app._app().close()
asyncio.run(main())
"""
_PEAK = "\nprint(*(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)")


def rounds(environment: dict[str, str], number: int) -> dict[str, tuple[list[float], list[float]]]:
    """Start each program so many times, in turn.

    Returns:
        For each its CPU times in milliseconds, which depend less than wall times on what else the machine does, and
        its peak memory in MiB.
    """
    programs = {
        "the four packages": PACKAGES,
        "function_app": "import sys; sys.modules['opentelemetry'] = None; import function_app",
        "function_app, and a first referral": FIRST,
        "Python itself": "",
    }
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in programs}
    for round_number in range(-1, number):
        for name, program in programs.items():
            started = resource.getrusage(resource.RUSAGE_CHILDREN)
            run = [sys.executable, "-c", program + _PEAK]
            output = subprocess.run(run, check=True, env=_compiled(environment), stdout=subprocess.PIPE).stdout  # noqa: S603
            if round_number >= 0:  # the first time, modules are compiled
                ended = resource.getrusage(resource.RUSAGE_CHILDREN)
                seconds = ended.ru_utime - started.ru_utime + ended.ru_stime - started.ru_stime
                times[name][0].append(seconds * 1e3)
                times[name][1].append(int(output.split()[1]) / 1024)
    return times


def imports() -> dict[str, float]:
    """What each package on the way to `function_app` takes by itself, in milliseconds, the most expensive first.

    A package's modules count for it, whatever imports them.
    """
    output = subprocess.run(
        [
            sys.executable,
            "-X",
            "importtime",
            "-c",
            "import sys; sys.modules['opentelemetry'] = None; import function_app",
        ],
        check=True,
        env=_compiled(dict(os.environ)),
        stderr=subprocess.PIPE,
        text=True,
    ).stderr
    times: dict[str, float] = {}
    for line in output.splitlines():
        if match := _LINE.match(line):
            name = ".".join(match[4].split(".")[: 2 if match[4].startswith("azure.") else 1])
            package = "the standard library" if name in sys.stdlib_module_names else name
            times[package] = times.get(package, 0) + int(match[1]) / 1000
    slowest = sorted(times.items(), key=lambda item: -item[1])
    return {name: cost for name, cost in slowest if cost >= 1} | {"all others": sum(c for _, c in slowest if c < 1)}


def _compiled(environment: dict[str, str]) -> dict[str, str]:
    """The environment with compiled modules, as in a deployment."""
    return {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
