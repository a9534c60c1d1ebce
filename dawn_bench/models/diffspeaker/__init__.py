"""DiffSpeaker (arXiv 2402.05712): a talking face as a moving mesh, by diffusion from sound."""
