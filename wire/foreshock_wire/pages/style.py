"""The look of a page: plain CSS, for light and dark screens and for paper."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root{--ink:#1c2430;--soft:#66717f;--line:#e3e7ec;--paper:#f6f7f9;--card:#fff;--c1:#1f6feb;
--c2:#e07a1f;--c3:#7c4dcb;--good:#1a7f4b;--bad:#c62f3b;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#94a0ae;--line:#2b333d;
--paper:#12161b;--card:#1a2027;--c1:#5b9dff;--c2:#f0984a;--c3:#b08cf0;--good:#4cc486;
--bad:#f0717b}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:1180px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:28px;line-height:1.2;margin:0;letter-spacing:-.02em}
h2{font-size:18px;margin:40px 0 8px;letter-spacing:-.01em}
h1,h2,h3,p,b{overflow-wrap:anywhere}.lines>*{min-width:0}
h3{font-size:13px;margin:0 0 6px;color:var(--soft);font-weight:600}
.sub{color:var(--soft);margin:4px 0 12px;max-width:78ch}
code{font-size:12px;margin-left:10px;overflow-wrap:anywhere}
.badge{font-size:13px;font-weight:600;letter-spacing:0;padding:4px 11px;border-radius:99px;
vertical-align:5px;margin-left:8px;color:#fff;background:var(--good);white-space:nowrap}
.badge.bad{background:var(--bad)}.badge.soft{background:var(--soft)}
.reasons{margin:12px 0 0;padding-left:20px;color:var(--bad)}
.cards{display:grid;grid-template-columns:repeat(4,1fr);gap:12px;margin-top:24px}
.card,figure,.wide,.said,.facts>div{background:var(--card);border:1px solid var(--line);
border-radius:10px}
.card{padding:14px 16px}
.what{color:var(--soft);font-size:13px;font-weight:600}
.value{font-size:30px;font-weight:650;letter-spacing:-.02em;line-height:1.35}
.note{color:var(--soft);font-size:12.5px;line-height:1.4}
.plots{display:grid;grid-template-columns:repeat(3,1fr);gap:12px;margin:32px 0 12px}
figure{margin:0;padding:14px 14px 8px}
figcaption b{display:block}
figcaption span{display:block;color:var(--soft);font-size:12.5px;line-height:1.4;min-height:2.8em}
svg{display:block;width:100%;height:auto;overflow:visible}
.lines{display:grid;grid-template-columns:1fr 1fr;gap:12px}
.line-of{padding:10px 12px 0}
.line-of figcaption b{font-size:13px;display:inline;margin-right:10px}
.line-of figcaption span{display:inline;min-height:0}
.stack{display:grid;gap:8px;margin-bottom:16px}
.stack figure{overflow-x:auto}.stack svg{min-width:720px}
.said{padding:12px 16px;break-inside:avoid}.said p{margin:4px 0 8px;max-width:78ch}
.said table{margin-bottom:4px}.said th,.said td{padding-top:4px;padding-bottom:4px;font-size:13px}
.words th,.words td{text-align:left;white-space:normal}
.small{grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:8px;margin:8px 0 20px}
.small .line-of figcaption span{display:block}.small b{overflow-wrap:anywhere}
.wide{overflow-x:auto;padding:6px 16px}
table{border-collapse:collapse;width:100%}
details{margin-top:12px}summary{cursor:pointer;color:var(--soft);font-size:13px;margin-bottom:8px}
td{white-space:nowrap}
th,td{text-align:right;padding:7px 0 7px 18px;border-bottom:1px solid var(--line);font-size:14px}
tr:last-child>*{border-bottom:0}
th{color:var(--soft);font-weight:500}a{color:var(--c1)}
th[scope=row]{text-align:left;padding-left:0;color:var(--ink)}
tr.us>*{font-weight:650;color:var(--c1)}
.facts{display:grid;grid-template-columns:repeat(4,1fr);gap:12px;align-items:start}
.facts>div{padding:14px 16px}
.facts th,.facts td{font-size:12.5px;padding:4px 0 4px 8px;white-space:nowrap}
.facts th[scope=row]{padding-left:0;color:var(--soft);white-space:normal}
.grid{stroke:var(--line)}.axis{stroke:var(--soft)}
.tick{font-size:11px;fill:var(--soft)}.name{font-size:12px;fill:var(--soft)}
.line{fill:none;stroke-width:2;stroke-linejoin:round}.rule{stroke-width:1.5}
.area{opacity:.1}.band{opacity:.22}.thin{stroke-width:1;opacity:.6}
.dashed{stroke-dasharray:5 4}.dotted{stroke-dasharray:1.5 4}
.dot{stroke:var(--card);stroke-width:1.5}
.line.c1,.rule.c1{stroke:var(--c1)}.line.c2,.rule.c2{stroke:var(--c2)}
.line.c3{stroke:var(--c3)}
.line.soft,.rule.soft{stroke:var(--soft)}.rule.bad{stroke:var(--bad);stroke-width:2}
.area.c1,.dot.c1,.bar.c1{fill:var(--c1)}.dot.c2,.band.c2{fill:var(--c2)}.dot.c3{fill:var(--c3)}
.dot.soft{fill:var(--soft)}
.bar.soft{fill:var(--line)}.bar.bad{fill:var(--bad)}
@media (max-width:900px){.cards,.facts{grid-template-columns:1fr 1fr}
.plots,.lines{grid-template-columns:1fr}}
@media print{body{background:#fff}main{max-width:none;padding:0}.stack svg{min-width:0}
figure,.card{break-inside:avoid}
h2{break-after:avoid}}
"""
