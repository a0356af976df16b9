"""Reflectances of materials in Sentinel-2's thirteen bands, and the land-cover classes.

The values are rounded from what field and laboratory spectra of such surfaces typically show: the chlorophyll bands and red edge of
leaves, the rise of soils
towards the short-wave infrared and its fall with moisture, the darkness of water beyond the red, the drop of snow at 1.6 um, flat
mineral building materials.
"""

from __future__ import annotations

import numpy as np

from .lattice import Array

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Sentinel-2's bands in the order of their files."""
BANDS_10M = ("B02", "B03", "B04", "B08")
BANDS_20M = ("B05", "B06", "B07", "B8A", "B11", "B12")
BANDS_60M = ("B01", "B09", "B10")

CLASSES = {
    1: "water",
    2: "broadleaf trees",
    3: "conifers",
    4: "shrub",
    5: "grass",
    6: "crops",
    7: "orchards and vines",
    8: "bare ground",
    9: "permanent snow",
    10: "built-up ground",
    11: "road",
    12: "building",
    13: "railway",
    14: "airfield pavement",
    15: "wetland",
    16: "solar panels",
}
"""Land-cover code to name."""
CODE = {name: code for code, name in CLASSES.items()}

# Thousandths, in the order of BANDS.
_TABLE = {
    "crop": (18, 26, 54, 31, 98, 290, 385, 425, 445, 445, 2, 200, 92),
    "maize": (16, 22, 46, 27, 86, 295, 405, 455, 475, 475, 2, 190, 82),
    "beet": (17, 26, 64, 34, 112, 330, 440, 490, 510, 510, 2, 205, 92),
    "rape flower": (22, 34, 132, 128, 185, 300, 365, 400, 412, 412, 2, 192, 92),
    "sunflower": (20, 30, 96, 92, 150, 285, 360, 400, 415, 415, 2, 195, 95),
    "grass": (24, 34, 68, 50, 118, 275, 340, 372, 392, 392, 2, 232, 118),
    "lawn": (22, 32, 70, 46, 116, 300, 375, 410, 428, 428, 2, 225, 105),
    "broadleaf": (14, 20, 44, 24, 76, 240, 318, 350, 368, 368, 2, 165, 70),
    "autumn leaves": (20, 32, 72, 92, 150, 232, 270, 292, 305, 305, 2, 210, 112),
    "twigs": (32, 40, 55, 68, 90, 118, 132, 150, 165, 168, 2, 185, 125),
    "conifer": (11, 16, 29, 19, 49, 128, 163, 180, 193, 193, 2, 90, 39),
    "shrub": (25, 36, 60, 56, 108, 195, 232, 255, 270, 270, 2, 215, 125),
    "reed": (22, 32, 58, 52, 104, 200, 245, 268, 280, 280, 2, 170, 85),
    "straw": (60, 82, 122, 166, 206, 245, 270, 295, 312, 316, 3, 350, 262),
    "cured grass": (55, 74, 108, 140, 178, 215, 238, 260, 278, 282, 3, 330, 240),
    "soil dark": (40, 50, 68, 88, 106, 122, 133, 148, 160, 164, 3, 205, 178),
    "soil brown": (60, 78, 112, 150, 174, 194, 208, 228, 244, 250, 3, 318, 280),
    "soil loess": (78, 102, 148, 198, 226, 246, 260, 280, 296, 302, 3, 362, 318),
    "soil red": (42, 54, 88, 158, 190, 214, 228, 244, 256, 260, 3, 330, 288),
    "litter": (18, 24, 35, 43, 64, 94, 108, 124, 136, 140, 2, 158, 106),
    "mud": (52, 64, 84, 98, 104, 108, 110, 112, 114, 115, 2, 92, 66),
    "sand": (130, 168, 232, 296, 324, 342, 353, 368, 380, 385, 4, 462, 430),
    "desert sand": (95, 130, 205, 310, 348, 368, 380, 395, 408, 412, 4, 520, 480),
    "stones": (88, 108, 142, 186, 206, 220, 230, 242, 252, 256, 4, 318, 300),
    "rock": (88, 104, 126, 148, 158, 166, 172, 181, 187, 190, 3, 222, 206),
    "burnt": (28, 33, 39, 47, 54, 64, 74, 88, 98, 102, 2, 172, 188),
    "snow": (880, 905, 905, 890, 882, 872, 862, 840, 818, 800, 10, 112, 92),
    "sea": (30, 27, 18, 8, 7, 6, 6, 5, 5, 5, 1, 3, 2),
    "lake": (32, 30, 27, 14, 11, 8, 8, 7, 6, 6, 1, 4, 3),
    "turbid": (38, 46, 60, 46, 38, 22, 20, 16, 13, 12, 1, 6, 4),
    "shallow": (52, 66, 72, 34, 22, 11, 10, 9, 8, 8, 1, 5, 4),
    "asphalt": (74, 82, 92, 98, 103, 108, 112, 118, 122, 124, 3, 140, 134),
    "old asphalt": (104, 116, 130, 140, 146, 151, 155, 161, 165, 167, 3, 186, 178),
    "concrete": (150, 172, 200, 222, 232, 240, 246, 256, 264, 266, 4, 292, 278),
    "gravel": (108, 128, 158, 184, 196, 206, 213, 222, 230, 232, 4, 272, 256),
    "paving": (100, 115, 136, 152, 162, 170, 176, 186, 193, 195, 3, 222, 210),
    "ballast": (70, 80, 96, 112, 120, 126, 130, 136, 140, 142, 3, 172, 162),
    "red tiles": (56, 66, 92, 178, 208, 228, 242, 262, 278, 280, 3, 330, 312),
    "brown tiles": (52, 62, 80, 118, 138, 152, 164, 180, 190, 193, 3, 245, 234),
    "slate": (76, 86, 94, 99, 103, 107, 111, 116, 120, 122, 3, 136, 130),
    "metal": (250, 285, 310, 322, 326, 328, 330, 333, 335, 335, 5, 330, 312),
    "blue metal": (170, 210, 196, 150, 148, 152, 158, 168, 176, 178, 5, 215, 200),
    "gravel roof": (130, 150, 172, 190, 198, 205, 210, 218, 224, 226, 4, 255, 244),
    "white roof": (470, 540, 582, 602, 607, 611, 613, 616, 616, 610, 6, 520, 450),
    "panels": (58, 62, 54, 46, 48, 52, 58, 68, 78, 80, 2, 108, 92),
    "glass": (120, 140, 160, 165, 190, 240, 262, 280, 288, 290, 4, 260, 220),
    "red paint": (60, 62, 72, 240, 290, 310, 318, 325, 330, 330, 4, 330, 300),
    "white paint": (520, 600, 640, 655, 660, 662, 664, 665, 665, 660, 6, 560, 480),
    "dark paint": (42, 45, 48, 52, 56, 60, 64, 70, 76, 78, 3, 100, 95),
    "foam": (160, 165, 160, 150, 140, 130, 120, 110, 100, 90, 2, 25, 15),
}
NAMES = tuple(_TABLE)
SPECTRUM = {name: number for number, name in enumerate(NAMES)}
"""Material to its row in `REFLECTANCE`."""
REFLECTANCE: Array = np.array(list(_TABLE.values()), np.float32) / np.float32(1000)
"""``[materials, 13]``, 0 to 1."""
SKY_SHARE: Array = np.array((0.28, 0.25, 0.20, 0.16, 0.145, 0.13, 0.125, 0.115, 0.11, 0.105, 0.1, 0.045, 0.03), np.float32)
"""Share of the light that comes from the clear sky instead of the sun, by band: what lights a shadow."""


def rows_of(names: list[str] | tuple[str, ...]) -> Array:
    """Rows in `REFLECTANCE` of the named materials."""
    return np.array([SPECTRUM[name] for name in names], np.int64)
