"""Colours, type and layout of the chat page, light and dark; the page loads no other style sheet of ours.

The message list is a reversed column: the browser then keeps it at its end while an answer grows, and leaves it alone
as soon as the reader scrolls up, without a line of script.
"""

MARK = """<svg viewBox="0 0 32 32" fill="none" xmlns="http://www.w3.org/2000/svg" aria-hidden="true">
<rect x="4" y="22" width="24" height="5" rx="2.5" fill="#b5532b"/>
<rect x="4" y="14" width="17" height="5" rx="2.5" fill="#d08a52"/>
<rect x="4" y="6" width="10" height="5" rx="2.5" fill="#e3bd8b"/></svg>"""

CSS = """
:root {
  --page: #faf8f5; --surface: #ffffff; --raised: #f1ede7; --line: #e4dfd7;
  --text: #22201d; --muted: #77716a; --accent: #a94a23; --on-accent: #ffffff;
  --mono: ui-monospace, "SF Mono", "Cascadia Code", "DejaVu Sans Mono", monospace;
}
body.body--dark {
  --page: #171614; --surface: #201e1b; --raised: #2a2824; --line: #37342f;
  --text: #ece8e1; --muted: #a19a90; --accent: #e39164; --on-accent: #201510;
}
body { --q-primary: var(--accent) !important; background: var(--page) !important; color: var(--text);
  font-family: system-ui, -apple-system, "Segoe UI", "Inter", "Noto Sans", "DejaVu Sans", sans-serif; }
.nicegui-content { padding: 0 !important; gap: 0 !important; }
.q-page { min-height: 0 !important; }

.shell { display: flex; flex-direction: column; width: 100%; height: 100vh; height: 100dvh; }
.bar { display: flex; align-items: center; gap: 10px; padding: 10px 18px; border-bottom: 1px solid var(--line); }
.bar .mark { width: 24px; height: 24px; flex: none; }
.bar .mark svg { display: block; }
.wordmark { font-weight: 650; letter-spacing: -0.01em; font-size: 17px; }
.chip { font-family: var(--mono); font-size: 12px; color: var(--muted); background: var(--raised);
  border-radius: 999px; padding: 3px 10px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.bar .grow { flex: 1; min-width: 0; }
.bar .q-btn, .turn .q-btn { color: var(--muted); }
.bar .q-btn:hover, .turn .q-btn:hover { color: var(--text); }

.history { flex: 1; min-height: 0; overflow-y: auto; display: flex; flex-direction: column-reverse;
  scrollbar-width: thin; scrollbar-color: var(--line) transparent; }
.turns { width: 100%; max-width: 760px; margin: 0 auto auto; padding: 28px 20px 12px; display: flex;
  flex-direction: column; gap: 22px; }
.turn { display: flex; flex-direction: column; }
.turn.user { align-items: flex-end; }
.words { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 16px; line-height: 1.62; }
.user .words { background: var(--raised); border-radius: 18px 18px 4px 18px; padding: 9px 16px; max-width: 85%; }
.assistant .words.live::after { content: ""; display: inline-block; width: 0.5em; height: 1em; margin-left: 2px;
  vertical-align: -0.12em; background: var(--accent); border-radius: 2px; animation: blink 1.1s steps(2) infinite; }
@keyframes blink { 50% { opacity: 0; } }
@media (prefers-reduced-motion: reduce) { .assistant .words.live::after { animation: none; } }
.facts { display: flex; align-items: center; gap: 2px; min-height: 30px; margin-left: -6px; }
.facts .numbers { font-size: 12.5px; color: var(--muted); font-variant-numeric: tabular-nums; margin-left: 6px; }
.facts .numbers:first-child { margin-left: 6px; }
.notice { font-size: 13px; color: var(--muted); text-align: center; }
.notice.fault { color: #c0392b; }
body.body--dark .notice.fault { color: #f0897c; }

.welcome { flex: 1; display: flex; flex-direction: column; align-items: center; justify-content: center; gap: 10px;
  padding: 24px; text-align: center; }
.welcome .mark { width: 56px; height: 56px; margin-bottom: 6px; }
.welcome h1 { font-size: 28px; line-height: 1.2; font-weight: 650; letter-spacing: -0.02em; margin: 0; }
.welcome p { color: var(--muted); max-width: 460px; margin: 0; font-size: 15px; line-height: 1.55; }
.suggestions { display: flex; flex-wrap: wrap; justify-content: center; gap: 8px; margin-top: 16px; max-width: 620px; }
.suggestions .q-btn { border: 1px solid var(--line); background: var(--surface); color: var(--text);
  border-radius: 999px; padding: 5px 15px; font-weight: 450; font-size: 14px; }
.suggestions .q-btn:hover { border-color: var(--accent); }

.composer { width: 100%; max-width: 760px; margin: 0 auto; padding: 6px 20px 12px; }
.box { display: flex; align-items: flex-end; gap: 8px; background: var(--surface); border: 1px solid var(--line);
  border-radius: 22px; padding: 6px 7px 6px 18px; box-shadow: 0 1px 8px rgb(0 0 0 / 4%);
  transition: border-color .15s; }
.box:focus-within { border-color: var(--accent); }
.box .q-textarea { flex: 1; min-width: 0; }
.box .q-field__control, .box .q-field__native { min-height: 36px !important; height: auto; }
.box .q-field__native { padding: 8px 0 6px !important; line-height: 22px; max-height: 190px; font-size: 16px;
  color: var(--text); }
.box .q-field__native::placeholder { color: var(--muted); opacity: 1; }
.box .q-field__control-container { padding-top: 0 !important; }
.box .round { width: 36px; height: 36px; min-height: 36px; background: var(--accent); color: var(--on-accent); }
.hint { text-align: center; color: var(--muted); font-size: 12px; margin-top: 8px; }

.q-drawer { background: var(--surface) !important; border-left: 1px solid var(--line); color: var(--text); }
.q-drawer .nicegui-drawer { padding: 0; gap: 0; }
.panel { padding: 22px 20px; gap: 22px; display: flex; flex-direction: column; width: 100%; }
.panel h2 { font-size: 12px; line-height: 1; font-weight: 650; letter-spacing: .06em; text-transform: uppercase;
  color: var(--muted); margin: 0; }
.dial .name { display: flex; justify-content: space-between; font-size: 14px; font-weight: 550; }
.dial .value { font-family: var(--mono); font-size: 13px; color: var(--accent); font-variant-numeric: tabular-nums; }
.dial .q-btn-group + .help { margin-top: 8px; }
.dial .q-slider { margin-bottom: -6px; }
.dial .help, .panel .about { font-size: 12.5px; line-height: 1.45; color: var(--muted); }
.panel .q-btn-group { width: 100%; box-shadow: none; border: 1px solid var(--line); border-radius: 10px; }
.panel .q-btn-group .q-btn { flex: 1; font-size: 13.5px; font-weight: 500; }
.panel pre { font-family: var(--mono); font-size: 11.5px; line-height: 1.5; background: var(--raised);
  color: var(--text); border-radius: 10px; padding: 10px 12px; margin: 0;
  white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 600px) {
  .bar { padding: 8px 10px; gap: 8px; }
  .turns { padding: 18px 14px 8px; }
  .composer { padding: 4px 10px 10px; }
  .hint, .bar .speed { display: none; }
  .welcome h1 { font-size: 23px; }
}
"""
