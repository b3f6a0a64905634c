package main

import (
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/penstock-dev/penstock/e2e/internal/table"
)

// store is where the controller reads the weight of the cluster.
type store struct {
	env    []string // that leads the controller to it
	flags  []string // that name it to the controller
	writes int      // of a wish, that the API server counts
	desire func(ctx context.Context, weight int) error
	// settle is how long the controller still looks at it because of what has been published, and not because it is time to.
	settle time.Duration
	close  func()
}

// opener opens a store beside a cluster.
type opener func(ctx context.Context, kube kubernetes.Interface, log io.Writer) (store, error)

// stores are what the flag names, which is the controller's --backend-type.
var stores = map[string]opener{"configmap": openConfigMap, "dynamodb": openTable}

func openConfigMap(_ context.Context, kube kubernetes.Interface, _ io.Writer) (store, error) {
	desire := func(ctx context.Context, weight int) error {
		patch, err := json.Marshal(map[string]any{"data": map[string]string{"DesiredWeight": strconv.Itoa(weight)}})
		if err != nil {
			return doing("write JSON", err)
		}
		_, err = kube.CoreV1().ConfigMaps(namespace).Patch(ctx, "penstock-traffic", types.MergePatchType, patch, metav1.PatchOptions{})
		return doing("patch the configmap", err)
	}
	return store{desire: desire, writes: 1, close: func() {}}, nil
}

func openTable(ctx context.Context, _ kubernetes.Interface, log io.Writer) (store, error) {
	t, err := table.Start(ctx, filepath.Join(*bin, "dynoxide"), log)
	if err != nil {
		return store{}, err
	}
	return store{
		env:    []string{"AWS_ENDPOINT_URL_DYNAMODB=" + t.URL, "AWS_ACCESS_KEY_ID=scale", "AWS_SECRET_ACCESS_KEY=secret"},
		flags:  []string{"--table-name=" + table.Name},
		desire: func(ctx context.Context, weight int) error { return t.Desire(ctx, clusterName, weight) },
		settle: 5 * time.Second,
		close:  t.Close,
	}, nil
}
