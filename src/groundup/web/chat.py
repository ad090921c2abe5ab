"""The chat page: a NiceGUI page on the API's own app and line, so a browser waits its turn like any other client.

What the model writes is set as the text of an element, never as HTML. State per open tab: the turns, the dials and the
running job; closing the tab cancels the job. Every asset comes from this server.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fastapi import FastAPI
from nicegui import events, html, ui

from groundup.core.errors import GroundupError
from groundup.core.logging import get_logger
from groundup.serving.worker import BusyError, GenerationWorker, Job, Part
from groundup.tokenization.chat import Message
from groundup.web.chat_style import CSS, MARK
from groundup.web.conversation import Mode, Settings, build_request

logger = get_logger(__name__)

MOUNT_PATH, CHAT_PATH = "/studio", "/chat"
SECONDS_BETWEEN_UPDATES = 0.05
SUGGESTIONS: Mapping[Mode, Sequence[str]] = {
    "chat": ("Add 12 and 30.", "Sort the digits 5391.", "Reverse 4821."),
    "continue": ("Fellow citizens,", "The state of our Union is", "I recommend to the Congress"),
}
PLACEHOLDERS: Mapping[Mode, str] = {"chat": "Write a message", "continue": "Begin a text, and the model writes on"}
ENTER_SENDS = "(e) => { if (e.shiftKey || e.isComposing) return; e.preventDefault(); emit(e.target.value); }"


def mount_chat(app: FastAPI, model_name: str, suggestions: Mapping[Mode, Sequence[str]] = SUGGESTIONS) -> str:
    """Add the page of a model to an app of `serving.app.create_app`; returns its path, to which `GET /` now leads.

    NiceGUI keeps one registry of pages per process, so this is called once per process.
    """
    worker: GenerationWorker = app.state.workers[model_name]

    @ui.page(CHAT_PATH, title=f"{model_name} · groundup")
    def chat() -> None:
        ChatPage(worker, model_name, suggestions)

    ui.run_with(
        app,
        mount_path=MOUNT_PATH,
        title="groundup",
        favicon=MARK,
        dark=None,
        language="en-US",
        reconnect_timeout=5.0,
        tailwind=False,
        show_welcome_message=False,
    )
    app.state.home = MOUNT_PATH + CHAT_PATH
    return app.state.home


@dataclass
class Answer:
    """The elements of one answer that change while it grows."""

    turn: ui.element
    words: ui.label
    numbers: ui.label
    copy: ui.button
    again: ui.button


class ChatPage:
    """One tab. Invariant: `job` is set exactly while an answer grows, and then nothing else can be sent."""

    def __init__(self, worker: GenerationWorker, model_name: str, suggestions: Mapping[Mode, Sequence[str]]) -> None:
        self.worker = worker
        self.model_name = model_name
        self.suggestions = suggestions
        self.settings = Settings(max_tokens=min(256, worker.generator.context_length // 2))
        self.messages: list[Message] = []
        self.job: Job | None = None
        self.last: Answer | None = None
        self.suggestion_rows: dict[Mode, ui.element] = {}
        self._build()
        ui.context.client.on_delete(self.stop)

    # The page

    def _build(self) -> None:
        ui.add_css(CSS)
        drawer = self._build_panel()
        with ui.element("main").classes("shell"):
            with ui.element("header").classes("bar"):
                ui.html(MARK, sanitize=False).classes("mark")
                ui.label("groundup").classes("wordmark")
                ui.label(self.model_name).classes("chip").props('data-testid="model"')
                ui.element().classes("grow")
                self.speed = ui.label("").classes("chip speed").props('data-testid="speed"')
                self.speed.set_visibility(False)
                _icon_button("edit_square", "New chat", self.new_chat)
                _icon_button("tune", "Settings", drawer.toggle)
            with ui.element("section").classes("history"):
                self.turns = (
                    ui.element().classes("turns").props('role="log" aria-live="polite" aria-label="Conversation"')
                )
                self.welcome = ui.element().classes("welcome")
            self._build_composer()
        self._build_welcome()

    def _build_welcome(self) -> None:
        self.turns.set_visibility(False)
        with self.welcome:
            ui.html(MARK, sanitize=False).classes("mark")
            html.h1(f"Talk to {self.model_name}")
            html.p("A small language model, trained from the ground up and running on this machine.")
            for mode, texts in self.suggestions.items():
                with ui.element().classes("suggestions") as row:
                    for text in texts:
                        button = ui.button(text, color=None, on_click=lambda _, text=text: self.send(text))
                        button.props("flat no-caps")
                row.set_visibility(mode == self.settings.mode)
                self.suggestion_rows[mode] = row

    def _build_composer(self) -> None:
        with ui.element("footer").classes("composer"):
            with ui.element().classes("box"):
                self.input = ui.textarea(placeholder=PLACEHOLDERS["chat"]).props(
                    'autogrow borderless dense rows=1 input-style="resize:none" aria-label="Message" autofocus'
                )
                self.input.on("keydown.enter", self._enter, js_handler=ENTER_SENDS)
                self.input.on("keydown.esc", self.stop)
                self.action = ui.button(icon="arrow_upward", color=None, on_click=self._act).props(
                    "round unelevated dense"
                )
                self.action.classes("round").props('aria-label="Send"')
            ui.label("Enter sends, Shift+Enter starts a new line. Small models make things up.").classes("hint")

    def _build_panel(self) -> ui.right_drawer:
        settings, context = self.settings, self.worker.generator.context_length
        drawer = ui.right_drawer(value=False, fixed=True).props("width=300 breakpoint=900")
        with drawer, ui.element().classes("panel"):
            html.h2("Settings")
            modes: dict[Mode, str] = {"chat": "Chat", "continue": "Continue"}
            with ui.element().classes("dial"):
                toggle = ui.toggle(modes, value=settings.mode, on_change=lambda event: self._set_mode(event.value))
                toggle.props("no-caps unelevated toggle-color=primary spread")
                ui.label(
                    "Chat answers you. Continue writes on from your text, as a model without chat tuning does."
                ).classes("help")
            _dial("Temperature", settings, "temperature", 0, 2, 0.05, "0 always takes the likeliest token.")
            _dial("Top-p", settings, "top_p", 0.05, 1, 0.05, "Keeps the likeliest tokens up to this share.")
            _dial("Max tokens", settings, "max_tokens", 1, context, 1, f"Longest answer; the context is {context}.")
            html.h2("API")
            ui.label("The same model answers any OpenAI client:").classes("about")
            html.pre(f"OPENAI_BASE_URL={_origin()}/v1")
        return drawer

    # What the user does

    async def _act(self) -> None:
        if self.job is None:
            await self.send(self.input.value or "")
        else:
            self.stop()

    def _set_mode(self, mode: Mode) -> None:
        self.settings.mode = mode
        self.input.props["placeholder"] = PLACEHOLDERS[mode]
        for name, row in self.suggestion_rows.items():
            row.set_visibility(name == mode)

    async def _enter(self, event: events.GenericEventArguments) -> None:
        await self.send(str(event.args or ""))

    async def send(self, text: str) -> None:
        """Add the user's message and let the model answer."""
        if not text.strip() or self.job is not None:
            return
        self.messages.append(Message("user", text.strip()))
        job = self._submit()
        if job is None:
            self.messages.pop()
            return
        self.input.set_value("")
        self.welcome.set_visibility(False)
        self.turns.set_visibility(True)
        if self.last is not None:
            self.last.again.set_visibility(False)  # only the newest answer can be drawn again
        with self.turns, ui.element("article").classes("turn user"):
            ui.label(text.strip()).classes("words")
        await self._answer(job)

    async def regenerate(self) -> None:
        """Forget the last answer and draw another."""
        if self.job is not None or self.last is None:
            return
        forgotten = self.messages.pop()
        job = self._submit()
        if job is None:
            self.messages.append(forgotten)
            return
        self.last.turn.delete()
        await self._answer(job)

    def stop(self) -> None:
        """Cancel the running answer; what it has stays."""
        if self.job is not None:
            self.job.cancel()

    def new_chat(self) -> None:
        """Begin again with an empty conversation."""
        self.stop()
        self._set_job(None)
        self.messages, self.last = [], None
        self.turns.clear()
        self.turns.set_visibility(False)
        self.welcome.set_visibility(True)
        self.speed.set_visibility(False)
        self.input.run_method("focus")

    # The answer

    def _submit(self) -> Job | None:
        try:
            request, dropped = build_request(self.messages, self.settings, self.worker.generator)
            job = self.worker.submit([Part(request)])
        except (BusyError, GroundupError) as error:
            ui.notify(str(error), type="warning", position="top", multi_line=True)
            return None
        self._note_dropped(dropped)
        return job

    async def _answer(self, job: Job) -> None:
        """Show the job's text as it comes; the pieces are gathered to at most 20 updates a second."""
        self._set_job(job)
        answer = self.last = self._add_answer()
        text, tokens, start, shown, reason = "", 0, None, 0.0, "stopped"
        try:
            async for _, delta in job:
                now = time.monotonic()
                start = start or now
                text += delta.text
                tokens += len(delta.ids)
                reason = delta.finish_reason or reason
                if now - shown >= SECONDS_BETWEEN_UPDATES:
                    shown = now
                    answer.words.set_text(text)
                    self._show_speed(tokens, now - start)
        except Exception:
            logger.exception("generation failed")
            reason = "failed; the server's log says why"
        finally:
            job.cancel()  # also when the tab is closed in the middle
            if self.job is job:
                self._set_job(None)
        if self.last is not answer:  # a new chat was begun meanwhile
            return
        self.messages.append(Message("assistant", text))
        self._finish(answer, text, tokens, time.monotonic() - (start or time.monotonic()), reason)

    def _add_answer(self) -> Answer:
        with self.turns, ui.element("article").classes("turn assistant") as turn:
            words = ui.label("").classes("words live")
            with ui.element().classes("facts"):
                copy = _icon_button("content_copy", "Copy", lambda: ui.clipboard.write(words.text))
                again = _icon_button("refresh", "Regenerate", self.regenerate)
                numbers = ui.label("").classes("numbers")
        for button in (copy, again):
            button.set_visibility(False)
        return Answer(turn, words, numbers, copy, again)

    def _finish(self, answer: Answer, text: str, tokens: int, seconds: float, reason: str) -> None:
        answer.words.set_text(text)
        answer.words.classes(remove="live")
        self._show_speed(tokens, seconds)
        ends = {"stop": "", "length": "reached the length limit"}
        facts = [f"{tokens} token{'' if tokens == 1 else 's'}", _speed(tokens, seconds), ends.get(reason, reason)]
        answer.numbers.set_text(" · ".join(fact for fact in facts if fact))
        answer.copy.set_visibility(True)
        answer.again.set_visibility(True)

    def _note_dropped(self, dropped: int) -> None:
        if dropped:
            ui.notify("The oldest messages no longer fit into the model's context.", position="top", type="info")

    def _set_job(self, job: Job | None) -> None:
        self.job = job
        icon, label = ("arrow_upward", "Send") if job is None else ("stop", "Stop")
        self.action.set_icon(icon)
        self.action.props(f'aria-label="{label}"')

    def _show_speed(self, tokens: int, seconds: float) -> None:
        speed = _speed(tokens, seconds)
        self.speed.set_text(speed)
        self.speed.set_visibility(bool(speed))


def _speed(tokens: int, seconds: float) -> str:
    """Tokens per second behind the first token, whose time is the prompt's."""
    return f"{(tokens - 1) / seconds:.0f} tokens/s" if tokens > 1 and seconds > 0 else ""


def _origin() -> str:
    """Scheme and host as this tab sees the server."""
    request = ui.context.client.request
    return f"{request.url.scheme}://{request.url.netloc}"


def _icon_button(icon: str, label: str, action: Callable[..., object]) -> ui.button:
    button = ui.button(icon=icon, color=None, on_click=action).props(f'flat round dense size=sm aria-label="{label}"')
    with button:
        ui.tooltip(label)
    return button


def _dial(name: str, settings: Settings, field: str, low: float, high: float, step: float, help_text: str) -> None:
    with ui.element().classes("dial"):
        with ui.element().classes("name"):
            ui.label(name)
            shown = ui.label().classes("value")
        slider = ui.slider(min=low, max=high, step=step, value=getattr(settings, field))
        slider.on_value_change(lambda event: setattr(settings, field, event.value)).props(f'aria-label="{name}"')
        shown.bind_text_from(slider, "value", lambda value: f"{value:g}")
        ui.label(help_text).classes("help")
