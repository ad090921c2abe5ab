"""The look of the report: one style sheet, no asset; colours are variables, so dark mode and print change only those.

Figures are drawn by `plots` with `var(--plot-...)`; the model is blue, what came after it orange, controls and
baselines grey, throughout.
"""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #fcfbf8; --card: #ffffff; --ink: #1c2126; --muted: #626b74; --rule: #e4e1d9; --accent: #0b6797;
  --good: #23713f; --bad: #b03a2e;
  --plot-ink: #1c2126; --plot-muted: #626b74; --plot-rule: #dedbd2;
  --plot-model: #1678a8; --plot-second: #d4671c; --plot-third: #8a929a; --plot-neutral: #a9aeb2;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua", Georgia, "Liberation Serif", serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #131619; --card: #1a1e22; --ink: #e7e5df; --muted: #9aa3ab; --rule: #2c3238; --accent: #6cbde4;
    --good: #6fc58b; --bad: #ef8a7e;
    --plot-ink: #e7e5df; --plot-muted: #9aa3ab; --plot-rule: #30363c;
    --plot-model: #52acd6; --plot-second: #f08c48; --plot-third: #88919a; --plot-neutral: #596169;
  }
}
* { box-sizing: border-box; }
html { font: 16px/1.55 var(--sans); background: var(--paper); color: var(--ink); -webkit-text-size-adjust: 100%; }
body { max-width: 62rem; margin: 0 auto; padding: 3.5rem 1.5rem 4rem; }
h1, h2 { font-family: var(--serif); font-weight: 600; line-height: 1.15; letter-spacing: -0.01em; }
h1 { font-size: clamp(2.1rem, 6vw, 3rem); margin: 0.15rem 0 0.8rem; overflow-wrap: anywhere; }
h2 { font-size: 1.6rem; margin: 0 0 0.6rem; }
h3 { font-size: 0.95rem; font-weight: 600; margin: 0 0 0.35rem; }
p { max-width: 43rem; margin: 0 0 1.1rem; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
.eyebrow { margin: 0; color: var(--muted); font-size: 0.8rem; letter-spacing: 0.09em; text-transform: uppercase; }
.lede { font-family: var(--serif); font-size: 1.2rem; line-height: 1.5; margin-bottom: 1.8rem; }
.quiet { color: var(--muted); font-size: 0.9rem; }
nav { margin: 1.8rem 0 0; padding: 0.7rem 0; border-block: 1px solid var(--rule); font-size: 0.92rem;
  display: flex; flex-wrap: wrap; gap: 0.35rem 1.3rem; }
section { padding-top: 2.8rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 1px; margin: 0;
  background: var(--card); border: 1px solid var(--rule); border-radius: 10px; overflow: hidden; }
.cards > div { padding: 1rem 1.2rem 1.05rem; outline: 1px solid var(--rule); }
.cards dt { color: var(--muted); font-size: 0.86rem; }
.cards dd { margin: 0; }
.cards .value { font-family: var(--serif); font-size: 2.1rem; line-height: 1.25; font-variant-numeric: lining-nums; }
.cards .value small { font: 0.95rem var(--sans); color: var(--muted); white-space: nowrap; }
.cards .note { color: var(--muted); font-size: 0.86rem; line-height: 1.45; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(25rem, 100%), 1fr));
  gap: 1.8rem 2.4rem; margin: 1.5rem 0; align-items: start; }
figure { margin: 0; min-width: 0; }
figure svg { display: block; width: 100%; max-width: 33rem; height: auto; overflow: visible; }
svg * { stroke-linejoin: round; }
svg text { font-family: var(--sans); font-variant-numeric: tabular-nums; }
figcaption { color: var(--muted); font-size: 0.86rem; line-height: 1.45; margin-top: 0.35rem; max-width: 33rem; }
.scroll { overflow-x: auto; min-width: 0; margin-bottom: 1.5rem; }
.panels .scroll { margin: 0; } .panels table { width: 100%; }
table { border-collapse: collapse; min-width: min(100%, 34rem); font-size: 0.9rem; line-height: 1.4; }
caption { text-align: left; font-weight: 600; font-size: 0.95rem; padding-bottom: 0.45rem; }
th, td { padding: 0.42rem 0.9rem 0.42rem 0; text-align: left; vertical-align: top; font-weight: 400; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--muted); font-size: 0.82rem; border-bottom: 1px solid var(--muted); vertical-align: bottom; }
tbody tr { border-bottom: 1px solid var(--rule); }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.emphasis > * { font-weight: 650; }
td small, .range { color: var(--muted); font-size: 0.82rem; font-weight: 400; white-space: nowrap; }
td.number small { display: block; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 0.35rem 1.4rem; margin: 1rem 0;
  font-size: 0.9rem; }
.facts.twice { grid-template-columns: repeat(2, max-content minmax(0, 1fr)); }
.facts dt { color: var(--muted); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.good { color: var(--good); } .bad { color: var(--bad); }
blockquote { margin: 0; padding: 0.1rem 0 0.1rem 1.1rem; border-left: 3px solid var(--rule); font-family: var(--serif);
  line-height: 1.55; white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; }
blockquote b { color: var(--accent); font-weight: 600; }
code { font-family: var(--mono); font-size: 0.85em; white-space: pre-wrap; overflow-wrap: anywhere;
  unicode-bidi: isolate; }
td code, th code { display: inline-block; max-width: 24rem; overflow-wrap: break-word; vertical-align: top; }
td span + code { max-width: 18rem; }
details { margin-top: 0.8rem; font-size: 0.9rem; }
summary { cursor: pointer; color: var(--accent); }
pre { font: 0.8rem/1.5 var(--mono); background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  padding: 0.9rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere; }
footer { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--rule); }
@media (max-width: 34rem) {
  body { padding: 1.8rem 1.1rem 3rem; }
  th, td { padding-right: 0.6rem; } td small { font-size: 0.78rem; }
  .facts, .facts.twice { grid-template-columns: max-content minmax(0, 1fr); gap: 0.3rem 1rem; }
  .cards { grid-template-columns: 1fr 1fr; } .cards > div { padding: 0.75rem 0.9rem; }
  .cards .value { font-size: 1.55rem; }
}
@media print {
  :root { color-scheme: light; --paper: #fff; --card: #fff; --ink: #000; --muted: #444; --rule: #ccc; --accent: #000;
    --good: #000; --bad: #000; --plot-ink: #000; --plot-muted: #444; --plot-rule: #ccc;
    --plot-model: #1678a8; --plot-second: #d4671c; --plot-third: #777; --plot-neutral: #999; }
  html { font-size: 11px; } body { max-width: none; padding: 0; } nav { display: none; }
  figure, tr, blockquote, .cards > div { break-inside: avoid; } h2 { break-after: avoid; }
  .panels { grid-template-columns: 1fr 1fr; }
}
"""
