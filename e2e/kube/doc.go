// Command kube is a Kubernetes cluster in one process, for tests: etcd, the real kube-apiserver, and the real controllers that rollouts need
// (deployments, replica sets, endpoint slices, namespaces, garbage collection). There is no scheduler and no kubelet: who starts it plays
// the node. It listens on loopback only, keeps everything in one folder, and ends when its standard input does, so it never outlives
// the process that started it, however that ends.
//
// Once the API is ready it prints the path of a kubeconfig for an administrator as one line on standard output.
package main
