"""Totals of the fuzz tests, at the end."""

from fuzz_law import broken, totals, unforeseen, write_totals


def pytest_terminal_summary(terminalreporter):
    if totals:
        terminalreporter.section("fuzz")
        for surface, count in sorted(totals.items()):
            found = ", ".join(f"{n} {kind}" for kind, n in count.most_common())
            terminalreporter.write_line(f"{surface}: {sum(count.values())} inputs, {found}")
        for line in [*broken, *unforeseen]:
            terminalreporter.write_line(line)


def pytest_sessionfinish():
    write_totals()
