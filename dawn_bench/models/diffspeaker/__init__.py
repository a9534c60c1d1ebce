"""DiffSpeaker (arXiv 2402.05712): speech-driven 3D facial animation by diffusion."""
