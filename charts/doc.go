// Package charts tests the Helm chart of the traffic controller, the Dockerfile of its image, and what the documentation says of both and of the rights
// in AWS. It is a module of its own, because Helm is one of its requirements. Values go in as testdata/*.values.yaml, what Helm makes of them is compared
// with testdata/*.golden.yaml, decoded strictly into the types of Kubernetes, and held against the code of the controller.
package charts
