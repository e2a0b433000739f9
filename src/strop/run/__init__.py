"""One run on disk: append as work finishes, resume by running the same command again.

    with Run.open("runs/first", command=shlex.join(sys.argv), config={...}, inputs={"model": ..., "tasks": ...}) as run:
        have = {(sample.task_id, sample.index) for sample in run.samples("before")}
        ...
        with run.atomic():                      # saved and paid for together, or neither
            run.save_samples("before", batch)
            run.charge("before", key, spent)

`Run.read(path)` opens the same folder for reports and export, also while the run is going on.
"""

from strop.run.export import FORMATS, export_run
from strop.run.folder import Run
from strop.run.rows import Metric
from strop.run.whole import write_whole

__all__ = ["FORMATS", "Metric", "Run", "export_run", "write_whole"]
