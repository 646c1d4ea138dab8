"""Files of images: what each format holds, checked while it is read."""
