"""Room `demo` (imports everything below it): what the demo does, step by step."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import msgspec
import zstandard
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from antiphon.agent import Memory
from antiphon.demo import corpus, page, seeing, society
from antiphon.demo.figures import Figures
from antiphon.domains.network import NETWORK
from antiphon.engines.sqlite import pages, sizes
from antiphon.fleet import Fleet
from antiphon.home import Home
from antiphon.model.text import id_text
from antiphon.world.clock import SystemClock

COMMIT_MESSAGES = 8_192
QUESTIONS = ("which pizza topping is the best", "my dog died and I miss him", '"new job" interview nervous')
_FLIP_STEPS, _FORGET_STEPS = 2, 4
_CHECK = (
    "import sys; from antiphon import verify_proof; from antiphon.model.text import parse_id; "
    "p = verify_proof(open(sys.argv[1], 'rb').read(), principal=parse_id(sys.argv[2])); "
    "print(p.describe()['body']['text'])"
)


class Story:
    """One run of the demo in a folder of its own."""

    def __init__(self, folder: Path, console: Console) -> None:
        self._folder = folder
        self._console = console
        self._clock = SystemClock()
        self.figures = Figures()

    def _now(self) -> float:
        return self._clock.monotonic_ms() / 1000

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("  {task.description:<38}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=False,
        )

    def tell(self) -> Figures:
        """Everything, in order."""
        figures = self.figures
        messages = corpus.read_corpus(corpus.corpus_path())
        people = corpus.people_of(messages)
        raw = "\n".join(message.text for message in messages).encode()
        figures.messages, figures.people, figures.raw_bytes = len(messages), len(people), len(raw)
        figures.zstd_bytes = len(zstandard.ZstdCompressor(level=3).compress(raw))
        meetings = corpus.read_meetings(corpus.corpus_path())
        with Fleet.create(self._folder / "fleet") as fleet, self._progress() as progress:
            self._write(fleet, messages, people, progress)
            self._meet(fleet, meetings, messages, people, progress)
            self._see(fleet, people, progress)
            self._pack(fleet, progress)
            self._verify(fleet, progress)
            figures.recalls = [self._recall(fleet, question) for question in QUESTIONS]
            self._prove(fleet)
            rows = society.rows_of(fleet)
        with self._progress() as progress:
            self._flip(progress)
        raised = msgspec.structs.replace(NETWORK, version=NETWORK.version + 1)
        with Fleet.open(self._folder / "fleet", domains=[raised]) as fleet, self._progress() as progress:
            self._make_anew(fleet, rows, people[0], progress)
            self._forget(fleet, messages, progress)
        return figures

    def _write(self, fleet: Fleet, messages: list[corpus.Message], people: list[str], progress: Progress) -> None:
        task = progress.add_task("people: keys, logs, certificates", total=len(people))
        start = self._now()
        fleet.add_all(people, own_principals=True, progress=lambda count: progress.advance(task, count))
        self.figures.enrol_s = self._now() - start
        task = progress.add_task("messages: signed, encrypted, fsynced", total=len(messages))
        start = self._now()
        for chunk in corpus.chunks(messages, COMMIT_MESSAGES):
            with fleet.batch() as batch:
                for message in chunk:
                    batch.remember(message.person, message.text, occurred=message.sent_ms)
            progress.advance(task, len(chunk))
        self.figures.write_s = self._now() - start

    def _meet(
        self,
        fleet: Fleet,
        meetings: list[corpus.Meeting],
        messages: list[corpus.Message],
        people: list[str],
        progress: Progress,
    ) -> None:
        task = progress.add_task("conversations: links, trust, coherence", total=len(meetings))
        start = self._now()
        events = society.meet(fleet, meetings, lambda count: progress.advance(task, count))
        seconds = self._now() - start
        self.figures.society = society.look(fleet, meetings, messages)
        self.figures.society.events, self.figures.society.seconds = events, seconds
        society.work(fleet, self.figures.society, people)

    def _see(self, fleet: Fleet, people: list[str], progress: Progress) -> None:
        opinions, likings = corpus.read_opinions(corpus.corpus_path())
        task = progress.add_task("insights, agreement, crystals", total=len(opinions) + len(likings))
        start = self._now()
        events = seeing.see(fleet, opinions, likings)
        seconds = self._now() - start
        progress.advance(task, len(opinions) + len(likings))
        self.figures.seen = seeing.look(fleet, opinions, people[0])
        self.figures.seen.events, self.figures.seen.seconds = events, seconds

    def _pack(self, fleet: Fleet, progress: Progress) -> None:
        task = progress.add_task("full text indexed, logs packed", total=fleet.replica.backlog() or None)
        start = self._now()
        while done := fleet.replica.index_backlog(rows_max=8_192):
            progress.advance(task, done)
        fleet.replica.tidy(shrink=True)
        self.figures.pack_s = self._now() - start
        by_owner = sizes.bytes_by_owner(fleet.replica.file)
        agents = fleet.agents_by_id()
        principals = [head.no for head in fleet.replica.heads() if head.owner not in agents]
        self.figures.identity_bytes = sizes.payload_of_logs(fleet.replica.file, principals)
        self.figures.log_bytes = sum(by_owner.get(name, 0) for name in sizes.LOG_TABLES) - self.figures.identity_bytes
        self.figures.file_bytes = fleet.replica.file.path.stat().st_size

    def _verify(self, fleet: Fleet, progress: Progress) -> None:
        total = sum(head.size for head in fleet.replica.heads())
        task = progress.add_task("every event of every log verified", total=total)
        start = self._now()
        verdicts = list(fleet.verify(progress=lambda count: progress.advance(task, count)))
        self.figures.verify_s = self._now() - start
        assert all(verdict.ok for verdict in verdicts), "a log that was just written does not verify"
        self.figures.verified_logs = len(verdicts)
        self.figures.verified_events = sum(verdict.held for verdict in verdicts)

    def _recall(self, fleet: Fleet, question: str) -> tuple[str, float, list[Memory]]:
        start = self._now()
        hits = fleet.recall(question, limit=3)
        return question, self._now() - start, hits

    def _prove(self, fleet: Fleet) -> None:
        hit = self.figures.recalls[0][2][0]
        agent = fleet.agent(hit.author)
        proof = agent.prove(hit.event)
        path = self._folder / "message.proof"
        path.write_bytes(proof)
        done = subprocess.run(
            [sys.executable, "-c", _CHECK, str(path), agent.principal], capture_output=True, text=True, check=False
        )
        self.figures.proof_bytes = len(proof)
        self.figures.proof_event = hit.event
        self.figures.proof_text = done.stdout.strip()
        self.figures.proof_ok = done.returncode == 0 and done.stdout.strip() == hit.text.strip()

    def _flip(self, progress: Progress) -> None:
        """Flips one byte of a copy, in the middle of the messages, and lets verification find it."""
        task = progress.add_task("a byte of a copy flipped, and found", total=_FLIP_STEPS)
        source = self._folder / "fleet"
        copy = self._folder / "copy"
        shutil.copytree(source, copy)
        progress.advance(task)
        home = Home.open(copy)
        path = copy / "fleet.antiphon"
        with home.open_file(path, read_only=True) as replica:
            at = sizes.offset_in(replica.file, "frames") + 1_234
        with path.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 0x10]))
        self.figures.flipped_at = at
        with Fleet.open(copy, read_only=True) as fleet:
            for verdict in fleet.verify():
                if not verdict.ok and verdict.first_bad is not None:
                    low, high = verdict.first_bad
                    where = f"events {low:,} to {high - 1:,} of {id_text(verdict.log)[:12]}…"
                    self.figures.flip_found = where
                    break
        progress.advance(task)
        shutil.rmtree(copy)

    def _make_anew(self, fleet: Fleet, rows: dict[str, list[str]], person: str, progress: Progress) -> None:
        """The network's tables, as if they were declared otherwise now."""
        task = progress.add_task(
            "tables made anew beside the old", total=sum(head.size for head in fleet.replica.heads())
        )
        society.rebuild(
            fleet, self.figures.society, rows, person,
            lambda folded, every: progress.update(task, completed=folded, total=every),
        )  # fmt: skip
        total = progress.tasks[task].total
        progress.update(task, completed=total or 0)

    def _forget(self, fleet: Fleet, messages: list[corpus.Message], progress: Progress) -> None:
        task = progress.add_task("somebody forgotten, and looked for", total=_FORGET_STEPS)
        counts = Counter(message.person for message in messages)
        person = next(name for name, count in counts.most_common() if count <= 400)
        own = [message.text for message in messages if message.person == person]
        others = {message.text for message in messages if message.person != person}
        needle = max((text for text in own if text not in others), key=len)[:60]
        figures = self.figures
        figures.person, figures.needle = person, needle
        path = fleet.replica.file.path
        key = Home.open(path.parent).ring.get(f"file:{path.stem}")
        fleet.replica.file.settle()
        figures.before = _kinds(pages.find_text(path, key, needle.encode()))
        progress.advance(task)
        start = self._now()
        figures.forgotten = fleet.forget_agent(person)
        figures.forget_s = self._now() - start
        progress.advance(task)
        figures.after = _kinds(pages.find_text(path, key, needle.encode()))
        progress.advance(task)
        figures.still_verified = all(verdict.ok for verdict in fleet.verify())
        progress.advance(task)


def _kinds(places: list[str]) -> list[str]:
    """Places without their page numbers, each once."""
    return list(dict.fromkeys(re.sub(r"page \d+ \((.*?)\)", r"\1", place) for place in places))


def run(*, keep: bool = False, folder: Path | None = None, html: Path | None = None) -> None:
    """Runs the demo and prints its page, to a file for browsers too. Leaves nothing else behind unless `keep`."""
    console = Console()
    if html is not None:
        html.write_text("", "utf-8")  # what cannot be written is known before, not after
    place = folder or Path(tempfile.mkdtemp(prefix="antiphon-demo-"))
    before = os.environ.get("ANTIPHON_STATE")
    os.environ["ANTIPHON_STATE"] = str(place / "state")
    try:
        page.greet(console)
        figures = Story(place, console).tell()
        figures.folder, figures.kept = str(place), keep
        page.show(console, figures)
        if html is not None:
            page.write_html(html, figures)
            console.print(f"[dim]The page is in {html} too.[/dim]", highlight=False)
    finally:
        if before is None:
            os.environ.pop("ANTIPHON_STATE", None)
        else:
            os.environ["ANTIPHON_STATE"] = before
        if not keep:
            shutil.rmtree(place, ignore_errors=True)
