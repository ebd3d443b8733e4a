"""An app that shows what a host and a worker do to an app."""

import asyncio
import json
import logging
import os
import sys

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
logging.error("logged at import")


@app.route("echo/{word}", methods=["GET", "POST"])
async def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    seen = {
        "url": req.url,
        "headers": dict(req.headers),
        "params": dict(req.params),
        "route": dict(req.route_params),
        "body": req.get_body().decode(),
        "traceparent": context.trace_context.trace_parent,
    }
    return func.HttpResponse(json.dumps(seen), mimetype="application/json", headers={"X-Seen": "yes"})


@app.route("sleep/{seconds}")
async def sleep(req: func.HttpRequest) -> func.HttpResponse:
    await asyncio.sleep(float(req.route_params["seconds"]))
    return func.HttpResponse("slept")


@app.route("block/{seconds}")
async def block(req: func.HttpRequest) -> func.HttpResponse:
    import time  # noqa: PLC0415

    time.sleep(float(req.route_params["seconds"]))  # noqa: ASYNC251 - it is to block
    return func.HttpResponse("blocked")


@app.route("exit/{code}")
async def leave(req: func.HttpRequest) -> func.HttpResponse:
    print("error: leaving", file=sys.stderr, flush=True)
    os._exit(int(req.route_params["code"]))


@app.route("raise")
async def fail(req: func.HttpRequest) -> func.HttpResponse:
    raise LookupError("nothing there")


@app.route("process")
def process(req: func.HttpRequest) -> func.HttpResponse:
    logging.warning("in a synchronous function")
    return func.HttpResponse(str(os.getpid()))


@app.route("chatty")
async def chatty(req: func.HttpRequest) -> func.HttpResponse:
    logging.warning("a warning")
    logging.error("an error")
    await asyncio.create_task(_log_in_task())
    await asyncio.to_thread(logging.error, "in a thread")
    asyncio.get_running_loop().call_later(0.05, logging.error, "from a callback")
    _tasks.append(asyncio.create_task(_log_later()))
    print("printed")
    print("a warning of an error", file=sys.stderr, flush=True)
    print("unhandled exception", file=sys.stderr, flush=True)
    return func.HttpResponse("said")


_tasks: list[asyncio.Task[None]] = []


async def _log_in_task() -> None:
    logging.error("in a task")


async def _log_later() -> None:
    await asyncio.sleep(0.05)
    logging.error("after the invocation")
    print("error: later", file=sys.stderr, flush=True)


if "PROBE_QUEUE" in os.environ:

    @app.queue_trigger("msg", "%PROBE_QUEUE%", "Probe", data_type=func.DataType[os.environ["PROBE_DATA_TYPE"]])
    async def take(msg: func.QueueMessage) -> None:
        body = msg.get_body()
        logging.info("took %s", json.dumps({"id": msg.id, "count": msg.dequeue_count, "body": body.hex()}))
        if body.startswith(b"sleep"):
            await asyncio.sleep(float(body[5:]))


if "PROBE_SCHEDULE" in os.environ:

    @app.timer_trigger(arg_name="timer", schedule="%PROBE_SCHEDULE%")
    async def tick(timer: func.TimerRequest) -> None:
        logging.info("ticked %s", json.dumps({"status": vars(timer), "past_due": timer.past_due}))
