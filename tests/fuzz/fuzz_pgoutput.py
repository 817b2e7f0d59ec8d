"""Coverage-guided fuzzing of the decoder: `python tests/fuzz/fuzz_pgoutput.py -max_total_time=600 CORPUS_DIR`.

Needs `atheris` (pip install atheris), which `make test` does not. An input is a sequence of frames, each with its length; the
captures of tests/golden/pgoutput are put into CORPUS_DIR first. Whatever is not a DecodeError is a crash.
"""

import hashlib
import sys
from contextlib import suppress
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parents[1])]

with atheris.instrument_imports(include=["cdcd_postgres"]):
    from cdcd.errors import DecodeError
    from golden.pgoutput_captures import captures, decode, pack, split

_FRAMES_MAX = 60


def one_input(data: bytes) -> None:
    """Decode what the fuzzer has made."""
    with suppress(DecodeError):
        decode(split(data))


def seed(corpus: Path) -> None:
    """Put short runs of frames of every capture into the corpus."""
    corpus.mkdir(parents=True, exist_ok=True)
    for capture in captures():
        for start in range(0, len(capture.frames), _FRAMES_MAX):
            packed = pack(capture.frames[start : start + _FRAMES_MAX])
            (corpus / hashlib.sha256(packed).hexdigest()[:20]).write_bytes(packed)


def main() -> None:
    """Fuzz until told to stop."""
    folders = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")]
    if folders:
        seed(folders[0])
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
