"""What models say of images, drawn on the images, for people to look at. No number depends on it."""
