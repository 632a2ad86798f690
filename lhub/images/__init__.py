"""Images: container images as OCI layouts, and the only room that runs a container engine or a builder."""
