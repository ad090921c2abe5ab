"""A program for the browser tests: the chat page and the API on a scripted engine. Prints the page's URL when it is up.

usage: chat_server.py SCRIPT SECONDS_PER_TOKEN [SECONDS_TO_FINISH]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))

from scripted_engine import ScriptedEngine

from groundup.stages.serve import ServeConfig, open_port, serve_engines


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    words, delay = sys.argv[1], float(sys.argv[2])
    engine = ScriptedEngine(script=lambda _: words, delay_seconds=delay)
    config = ServeConfig(port=0, finish_seconds=float(sys.argv[3]) if len(sys.argv) > 3 else 1.0)
    with open_port(config.host, config.port) as listener:
        serve_engines({"scripted": engine}, listener, config, lambda url, page, _: say(url + page))
    say("ended")
