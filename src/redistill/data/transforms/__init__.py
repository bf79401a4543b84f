"""Transforms of images, a file each: `NAME(*, settings)` gives one of torchvision's, or one that is called like them.

What they are given is an image (C, H, W), uint8 until it is normalised, with its boxes and its mask as tv_tensors,
where it has them. What is drawn at random is drawn from torch's generator, which is seeded for each view of each image.
"""

FIXED = ("centre_crop", "normalise", "resize")  # draw nothing at random: an image has one view
