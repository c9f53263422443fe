#!/usr/bin/env python3
"""How long `config` takes, beside Docker Compose: every valid case of a corpus, both programs in turn.

    benches/compose_config.py --rswarm PATH --reference PATH/docker-compose --corpus PATH [--rounds 3] [--limit N]

The corpus has a CASES.tsv (id, cwd, files, project_directory, project_name, profiles, env, and what the
reference says) and the files below files/. Of each case the quickest round of each program counts, whole
processes from start to end. Prints the ratios; exit code 1 when one is below the bar.
"""

import argparse
import csv
import json
import os
import statistics
import sys
import time

BAR = 10.0


def arguments(case):
    words = []
    for file in json.loads(case["files"] or "[]"):
        words += ["-f", file]
    for key, option in (("project_directory", "--project-directory"), ("project_name", "-p")):
        if case[key]:
            words += [option, case[key]]
    for profile in filter(None, case["profiles"].split(",")):
        words += ["--profile", profile]
    return words


def once(command, env):
    """From just before the process is started to its end; nothing of ours runs in between."""
    to_nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    start = time.perf_counter()
    process = os.posix_spawn(command[0], command, env, file_actions=to_nowhere)
    _, status = os.waitpid(process, 0)
    return time.perf_counter() - start, os.waitstatus_to_exitcode(status)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("rswarm", "reference", "corpus"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="only so many cases, evenly spread")
    args = parser.parse_args()
    with open(os.path.join(args.corpus, "CASES.tsv"), newline="") as file:
        cases = [case for case in csv.DictReader(file, delimiter="\t") if case["compose_2.26.1"] == "valid"]
    if args.limit and args.limit < len(cases):
        cases = cases[:: max(1, len(cases) // args.limit)][: args.limit]
    rswarm, reference, corpus = map(os.path.abspath, (args.rswarm, args.reference, args.corpus))
    ratios, failed = [], 0
    for case in cases:
        cwd = os.path.join(corpus, "files", case["cwd"])
        env = {"PATH": "/usr/bin:/bin", "HOME": "/home/ref", "USER": "ref", "LANG": "C.UTF-8", "PWD": cwd}
        env.update(json.loads(case["env"] or "{}"))
        words = arguments(case)
        # options of the project stand before the verb in Docker Compose, after it in rswarm
        commands = ([rswarm, "config", *words, "-q"], [reference, *words, "config", "-q"])
        best = [float("inf")] * 2
        codes = [0, 0]
        os.chdir(cwd)
        for _ in range(args.rounds):
            for which, command in enumerate(commands):
                took, codes[which] = once(command, env)
                best[which] = min(best[which], took)
        if any(codes):
            failed += 1
            continue
        ratios.append((best[1] / best[0], best[0] * 1e3, best[1] * 1e3, case["id"]))
    if not ratios:
        sys.exit("no case could be measured")
    ratios.sort()
    values = [ratio for ratio, *_ in ratios]
    print(f"{len(ratios)} cases, {failed} left out because one of the programs refused them")
    print(f"reference / rswarm: smallest {values[0]:.1f}x, median {statistics.median(values):.1f}x, largest {values[-1]:.1f}x")
    for ratio, ours, theirs, name in ratios[:5]:
        print(f"  {ratio:6.1f}x  rswarm {ours:7.1f} ms  reference {theirs:7.1f} ms  {name}")
    sys.exit(values[0] < BAR)


if __name__ == "__main__":
    main()
