"""Convert another framework's configs into experiments, without importing or running what they name."""

from redistill.importer.report import LeftOut as LeftOut
from redistill.importer.report import Report as Report
from redistill.importer.torchdistill import import_files as import_files
