"""Things to touch: HTML that works in JupyterLab and in the built page alike, with no kernel and no network."""

from __future__ import annotations

import html
import json

from ardm.sampling import Trace
from ardm.types import InputError

__all__ = ["player"]

STYLE = """
.ardm-player{border:1px solid #8886;border-radius:6px;padding:.8em 1em;margin:1em 0;font-size:.95em}
.ardm-player .text{font-family:ui-monospace,Menlo,Consolas,monospace;line-height:1.9;min-height:8em;overflow-wrap:anywhere}
.ardm-player .text span{padding:.1em .2em;border-radius:3px;white-space:pre-wrap}
.ardm-player .letters span{padding:.1em 0}
.ardm-player .hidden{opacity:.45}
.ardm-player .new{background:#0072B2;color:#fff}
.ardm-player .changed{background:#D55E00;color:#fff;text-decoration:underline}
.ardm-player .same{outline:1px dashed #D55E00}
.ardm-player .cover{background:#666;color:#fff}
.ardm-player .bar{display:flex;flex-wrap:wrap;gap:.6em;align-items:center}
.ardm-player .bar input{flex:1;min-width:8em}
.ardm-player button{padding:.2em .8em;font:inherit}
.ardm-player .key{font-size:.85em;margin-top:.6em}
.ardm-player .key span{padding:.1em .4em;border-radius:3px;margin-right:.8em;display:inline-block}
"""

SCRIPT = """
(function(){
  var root=document.getElementById(ID), frames=FRAMES, at=0, timer=null;
  var text=root.querySelector('.text'), range=root.querySelector('input'), says=root.querySelector('output');
  var play=root.querySelector('.play');
  function show(n){
    at=Math.max(0,Math.min(frames.length-1,n)); range.value=at; text.replaceChildren();
    var counts={};
    frames[at].forEach(function(token){
      var span=document.createElement('span'); span.textContent=token[0]; span.className=token[1];
      counts[token[1]]=(counts[token[1]]||0)+1; text.append(span, SEPARATOR);
    });
    var done=[['new','written'],['changed','changed'],['same','rewritten, unchanged'],['cover','hidden again']].filter(function(k){
      return counts[k[0]];}).map(function(k){return counts[k[0]]+' '+k[1];}).join(', ');
    says.textContent=at===0?'start':'step '+at+' of '+(frames.length-1)+(done?': '+done:': nothing changes');
  }
  function stop(){clearInterval(timer);timer=null;play.textContent='Play';}
  range.addEventListener('input',function(){stop();show(+range.value);});
  root.querySelector('.back').addEventListener('click',function(){stop();show(at-1);});
  root.querySelector('.next').addEventListener('click',function(){stop();show(at+1);});
  play.addEventListener('click',function(){
    if(timer){stop();return;}
    if(at===frames.length-1)show(0);
    play.textContent='Pause';
    timer=setInterval(function(){if(at===frames.length-1){stop();}else{show(at+1);}},700);
  });
  show(FIRST);
})();
"""

CLASSES = {  # what happened to a token, and the class in STYLE that shows it
    "hidden": "hidden",
    "given": "",
    "kept": "",
    "written": "new",
    "changed": "changed",
    "rewritten, unchanged": "same",
    "hidden again": "cover",
}

KEY = (
    '<div class="key"><span class="new">written</span><span class="changed">changed</span>'
    '<span class="same">rewritten, unchanged</span><span class="cover">hidden again</span></div>'
)


def player(trace: Trace, words: tuple[str, ...], *, id: str, row: int = 0, separator: str = " ", mask: str = "_") -> object:
    """Step through one recorded sequence: a slider, back, next and play.

    Every step is in the page already, so it works without a kernel. ``id`` is unique on its page. ``separator`` stands between
    tokens: a blank for words, nothing for characters. Opens on the last step.
    """
    from IPython.display import HTML

    if not trace.frames:
        raise InputError("nothing to play: sample with record=True")
    names = (*words, mask)
    frames = [[[_visible(names[token]), CLASSES[event]] for token, event in step] for step in trace.history(row, len(words))]
    data = json.dumps(frames).replace("</", "<\\/")
    last = len(frames) - 1
    settings = {"ID": json.dumps(id), "SEPARATOR": json.dumps(separator), "FIRST": str(last), "FRAMES": data}  # data last
    script = SCRIPT
    for name, value in settings.items():
        script = script.replace(name, value, 1)
    kind = "text" if separator else "text letters"
    label = html.escape(f"Step of the recorded sampling, 0 to {last}")
    return HTML(
        f'<div class="ardm-player" id="{html.escape(id)}"><style>{STYLE}</style>'
        f'<div class="{kind}" aria-live="off"></div><div class="bar"><button type="button" class="back">Back</button>'
        f'<button type="button" class="play">Play</button><button type="button" class="next">Next</button>'
        f'<input type="range" min="0" max="{last}" step="1" aria-label="{label}"><output aria-live="polite"></output></div>'
        f"{KEY}</div><script>{script}</script>"
    )


def _visible(word: str) -> str:
    """A line break is shown as a sign and still breaks the line."""
    return word.replace("\n", "⏎\n")
