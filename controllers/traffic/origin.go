package traffic

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// originOf returns what tells a Kubernetes cluster from another one that was given its name by mistake: the UID of a namespace that every cluster has, and
// that nobody can delete.
// https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/#initial-namespaces
func originOf(ctx context.Context, kube kubernetes.Interface) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	system, err := kube.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("get namespace %s, whose UID ownership records name: %w", metav1.NamespaceSystem, err)
	}
	return string(system.UID), nil
}
