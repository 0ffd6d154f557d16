"""Room `home` (imports all below it): the folder where agents and their keys live."""

from antiphon.home.face import Home, Recovered
from antiphon.home.folder import SUFFIX, check_name, default_folder, warn_of_network_folder

__all__ = ["SUFFIX", "Home", "Recovered", "check_name", "default_folder", "warn_of_network_folder"]
