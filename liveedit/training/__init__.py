"""Training: the backbone from scratch, the editor on a frozen backbone, and their checkpoints."""
