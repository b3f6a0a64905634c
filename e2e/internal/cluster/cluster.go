// Package cluster is a Kubernetes cluster of the tests: a process with etcd, the real API server and the real controllers, and a node in
// this process, whose pods are HTTP servers on loopback.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	flaggerclient "github.com/fluxcd/flagger/pkg/client/clientset/versioned"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/penstock-dev/penstock/e2e/internal/gateway"
	"github.com/penstock-dev/penstock/e2e/internal/process"
)

// Cluster is a running cluster. Use [Start].
type Cluster struct {
	Name    string
	Config  *rest.Config // of the administrator
	Kube    kubernetes.Interface
	Flagger flaggerclient.Interface
	Dynamic dynamic.Interface
	// Kubeconfig is the file that leads to it.
	Kubeconfig string
	Plain      *gateway.Gateway // for Skipper, which reads the API by plain HTTP
	Node       *Node

	process *process.Process
}

const (
	startTimeout = 3 * time.Minute
	stopTimeout  = 10 * time.Second
)

// Start starts a cluster that keeps everything in dir. program is e2e/kube, built. The caller must Close it.
func Start(ctx context.Context, name, program, dir string, log io.Writer) (*Cluster, error) {
	p, err := process.Start(process.Options{Log: log, Lines: true}, program, "-dir", filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", name, err)
	}
	c := &Cluster{Name: name, process: p}
	if err := c.connect(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("cluster %s: %w", name, err), c.Close())
	}
	return c, nil
}

func (c *Cluster) connect(ctx context.Context) error {
	start, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	kubeconfig, err := c.process.ReadLine(start)
	if err != nil {
		return err
	}
	c.Kubeconfig = kubeconfig
	if c.Config, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err != nil {
		return fmt.Errorf("read %s: %w", kubeconfig, err)
	}
	c.Config.QPS, c.Config.Burst, c.Config.WarningHandler = 500, 1000, rest.NoWarnings{}
	if c.Kube, err = kubernetes.NewForConfig(c.Config); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if c.Flagger, err = flaggerclient.NewForConfig(c.Config); err != nil {
		return fmt.Errorf("client of Canaries: %w", err)
	}
	if c.Dynamic, err = dynamic.NewForConfig(c.Config); err != nil {
		return fmt.Errorf("dynamic client: %w", err)
	}
	if c.Plain, err = gateway.New(ctx, c.Config); err != nil {
		return err
	}
	c.Node, err = startNode(ctx, c.Name, c.Kube)
	return err
}

// Close ends the node and the process.
func (c *Cluster) Close() error {
	var err error
	if c.Node != nil {
		err = c.Node.close()
	}
	if c.Plain != nil {
		c.Plain.Close()
	}
	c.process.Stop(stopTimeout)
	return err
}

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// Define installs CustomResourceDefinitions, and returns when the API serves them.
func (c *Cluster) Define(ctx context.Context, crds ...*unstructured.Unstructured) error {
	client := c.Dynamic.Resource(definitions)
	for _, crd := range crds {
		if _, err := client.Create(ctx, crd, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create crd %s: %w", crd.GetName(), err)
		}
	}
	for _, crd := range crds {
		err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
			now, err := client.Get(ctx, crd.GetName(), metav1.GetOptions{})
			if err != nil {
				return false, err //nolint:wrapcheck // it is below
			}
			conditions, _, _ := unstructured.NestedSlice(now.Object, "status", "conditions") // null is as good as none
			for _, entry := range conditions {
				condition, ok := entry.(map[string]any)
				if ok && condition["type"] == "Established" && condition["status"] == "True" {
					return true, nil
				}
			}
			return false, nil
		})
		if err != nil {
			return fmt.Errorf("wait for crd %s: %w", crd.GetName(), err)
		}
	}
	return nil
}
