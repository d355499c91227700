#!/usr/bin/env python3
"""Turns a terminal screen with ANSI colours (standard input) into an SVG.

    tmux capture-pane -e -p | tools/ansi_svg.py > screen.svg
"""

import html
import re
import sys

COLOURS = {"31": "#e5534b", "32": "#57ab5a", "33": "#c69026", "36": "#39c5cf"}
NBSP = "\u00a0"  # a viewer may fold blanks
CELL_W, CELL_H, PAD = 8.4, 18, 14


def spans(line):
    """Yields (text, colour, dim) runs of a line."""
    colour, dim = None, False
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if not part.startswith("\x1b["):
            if part:
                yield part, colour, dim
            continue
        for code in part[2:-1].split(";"):
            if code in ("", "0"):
                colour, dim = None, False
            elif code == "2":
                dim = True
            elif code == "39":
                colour = None
            elif code in COLOURS:
                colour = COLOURS[code]


def main():
    lines = [l.rstrip("\n") for l in sys.stdin]
    while lines and not re.sub(r"\x1b\[[0-9;]*m", "", lines[-1]).strip():
        lines.pop()
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", l) for l in lines]
    width = max(len(l) for l in plain) * CELL_W + 2 * PAD
    height = len(lines) * CELL_H + 2 * PAD
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">',
           '<rect width="100%" height="100%" rx="8" fill="#1c2128"/>',
           '<g font-family="ui-monospace,SFMono-Regular,Menlo,DejaVu Sans Mono,monospace" font-size="14" fill="#cdd9e5" xml:space="preserve">']
    for row, line in enumerate(lines):
        x, y = PAD, PAD + (row + 0.75) * CELL_H
        for text, colour, dim in spans(line):
            style = f' fill="{colour}"' if colour else ""
            style += ' opacity="0.6"' if dim else ""
            length = len(text) * CELL_W
            out.append(f'<text x="{x:.1f}" y="{y:.1f}" textLength="{length:.1f}" lengthAdjust="spacingAndGlyphs"{style}>{html.escape(text).replace(" ", NBSP)}</text>')
            x += length
    out += ["</g>", "</svg>"]
    print("\n".join(out))


main()
