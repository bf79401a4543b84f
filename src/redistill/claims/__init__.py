"""What is claimed, and whether it holds: published numbers, reruns on other machines, and plans made beforehand."""
