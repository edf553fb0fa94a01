"""Any words after `lean3d` are carried out, or refused in one sentence; then nothing is written."""

from fuzz_commands import command_lines, loose_words
from fuzz_law import fuzz, hold
from hypothesis import strategies as st


@fuzz(0.25, st.one_of(command_lines(), command_lines(), command_lines(), loose_words()))
def test_command_lines_are_carried_out_or_refused_in_one_sentence(asked):
    hold(asked)
