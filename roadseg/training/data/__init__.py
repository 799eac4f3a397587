"""Where training crops come from: pairs of files, tiles, masks drawn from vectors, sampling, augmentation."""
