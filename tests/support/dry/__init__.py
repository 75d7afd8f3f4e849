"""A cluster without images: the pods of a rendered manifest as processes of this machine, locked in as it says.

Each pod has a network namespace on one bridge, under the NetworkPolicies of the manifest; each container a mount
namespace with its volumes where the manifest mounts them, a read-only root, its user, its capabilities. What an image
would bring is this machine's: our services from the checkout, nats-server and the S3 server from wheels, nginx,
Prometheus and Alertmanager from Debian. Needs root.
"""
