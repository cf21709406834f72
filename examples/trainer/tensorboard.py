"""The records of a run as TensorBoard's event files, by tensorboardX, which needs no TensorFlow."""

from pathlib import Path

from examples.trainer.config import RunError


class EventFiles:
    """Writes into `folder`. Events of an earlier part of the run from `step` on are superseded."""

    def __init__(self, folder: Path, step: int):
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise RunError("--tensorboard needs tensorboardX: pip install 'jaxconv[tensorboard]'") from error
        try:
            # Files are named by the second: the suffix tells two parts of a run apart.
            self._writer = SummaryWriter(str(folder), purge_step=step, filename_suffix=f".{step}")
        except OSError as error:
            raise RunError(f"--out: cannot write into {folder}: {error.strerror}") from error

    def write(self, record: dict, **more: float) -> None:
        """Writes the numbers of a record. The same measure of training and of tests shares a chart."""
        step = record["step"]
        for name, value in {**record, **more}.items():
            if isinstance(value, dict):
                for part, number in value.items():
                    self._writer.add_scalar(f"{name}/{part}", number, step)
            elif name in ("loss", "accuracy"):
                self._writer.add_scalar(f"{name}/training", value, step)
            elif name.startswith("test_"):
                self._writer.add_scalar(f"{name.removeprefix('test_')}/held_out", value, step)
            elif name != "step":
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Writes what is still buffered."""
        self._writer.close()
