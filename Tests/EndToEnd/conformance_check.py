"""conformance_check.py RESULT PASSING BETTER: judges the output of conformance.py against the project's own lists.

PASSING names scenarios, one a line. BETTER has lines 'scenario | step | status | reason': steps where our answer differs
from the recorded one on purpose and the recording names no better one; a scenario whose only differences are such steps
passes. The status is the one that is right: a number, or '=' for the recorded one (only other parts differ), or 'moved' where
the recording has another step in that place, because one before it was answered otherwise.
"""
import re
import sys


def lines(path):
    with open(path) as file:
        return [line.strip() for line in file if line.strip() and not line.startswith("#")]


def main(result, passing, better):
    listed = set(lines(passing))
    allowed = {}
    for line in lines(better):
        scenario, step, right = (part.strip() for part in line.split(" | ")[:3])
        allowed[scenario, step] = right
    status, differing, text, name = {}, {}, {}, None
    with open(result) as file:
        for line in file:
            head = re.match(r"(ok|FAIL|skip)\s+(\S+?):", line)
            if head:
                name = head[2]
                status[name], differing[name], text[name] = head[1], {}, [line]
            elif name and line.startswith("  "):
                text[name].append(line)
                # '  N step: wrong at PATH: …', '  N step: not reached', '  step: a step that was not recorded'
                step = re.match(r"  (?:\d+ )?(.*?): (?:(wrong) at |not reached|a step that was not)", line)
                if step or line.startswith("  the scenario stopped"):
                    found = differing[name].setdefault(step[1] if step else line.strip(), set())
                    got = re.match(r".*: wrong at \.(?:value\.)?status: .*, got \"?(\d+)\"?$", line.rstrip())
                    if got:
                        found.add(got[1])
                    elif not step or not step[2] or ": wrong at .step: " in line:
                        found.add("moved")

    def is_right(scenario, step, found):
        """What differs at a step is what the list says: another status, none, or another step altogether."""
        right = allowed.get((scenario, step))
        return right == "moved" and "moved" in found or right == "=" and not found or right in found and found == {right}

    passed = {name for name, how in status.items() if how == "ok" or how == "FAIL" and differing[name] and
              all(is_right(name, step, found) for step, found in differing[name].items())}
    for name in sorted(listed - passed):
        print("".join(text.get(name, [f"FAIL {name}: listed, but there is no such scenario, or the run ended before it\n"])), end="")
    unlisted = sorted(passed - listed)
    if unlisted:
        print("pass and are not listed:", *unlisted)
    print(f"{len(listed & passed)} passed, {len(listed - passed)} failed")
    return 1 if listed - passed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
