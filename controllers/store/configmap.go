package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	corev1informers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// The label of a ConfigMap that a ConfigMap store has made.
// https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "penstock"
)

// ConfigMap keeps the row of a cluster in a ConfigMap of that cluster. The keys of its data have the names of the table's attributes, and people change
// DesiredWeight with kubectl edit. It keeps the keys, labels and annotations of others.
//
// The controller needs the verbs get, create, update, list and watch on configmaps of the namespace.
// https://kubernetes.io/docs/concepts/configuration/configmap/
type ConfigMap struct {
	kube    kubernetes.Interface
	name    types.NamespacedName
	cluster string
	opts    Options
}

var (
	_ Store   = (*ConfigMap)(nil)
	_ Watcher = (*ConfigMap)(nil)
)

// NewConfigMap returns a ConfigMap, without a call. It returns ErrInvalid if a name is empty.
func NewConfigMap(kube kubernetes.Interface, name types.NamespacedName, cluster string, opts Options) (*ConfigMap, error) {
	if err := named([2]string{"cluster name", cluster}, [2]string{"namespace", name.Namespace}, [2]string{"name", name.Name}); err != nil {
		return nil, fmt.Errorf("configmap %s of cluster %q: %w", name, cluster, err)
	}
	return &ConfigMap{kube: kube, name: name, cluster: cluster, opts: opts.withDefaults()}, nil
}

// Read implements Store. A ConfigMap without ClusterName is the cluster's; one with the name of another cluster is ErrInvalid.
func (c *ConfigMap) Read(ctx context.Context) (Row, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.CallTimeout)
	defer cancel()
	configMap, err := c.get(ctx)
	if err != nil {
		return Row{}, err
	}
	return c.row(configMap)
}

// Create implements Store. A ConfigMap of that name that belongs to another cluster is ErrInvalid.
func (c *ConfigMap) Create(ctx context.Context, row Row) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.CallTimeout)
	defer cancel()
	row, err := newRow(c.cluster, row)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("create configmap %s: %w", c.name, err)
	}
	configMap := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.name.Namespace, Name: c.name.Name, Labels: map[string]string{managedByLabel: managedBy}},
		Data:       attributes(row),
	}
	_, err = c.kube.CoreV1().ConfigMaps(c.name.Namespace).Create(ctx, configMap, metav1.CreateOptions{})
	switch {
	case apierrors.IsAlreadyExists(err):
		existing, err := c.get(ctx)
		if err != nil {
			return err
		}
		return c.owned(existing)
	case apierrors.IsNotFound(err): // not ErrNotFound, which asks for Create
		return fmt.Errorf("create configmap %s: the namespace does not exist: %w", c.name, err)
	}
	return c.failed("create", err)
}

// Acknowledge implements Store by an update of the resourceVersion whose values were compared with read. The malformed and the deleted row are
// conflicts as well, since neither is as it was read.
func (c *ConfigMap) Acknowledge(ctx context.Context, read, row Row) error {
	row.ClusterName, row.DesiredWeight = c.cluster, read.DesiredWeight
	if err := writable(row); err != nil {
		return fmt.Errorf("acknowledge in configmap %s: %w", c.name, err)
	}
	err := c.update(ctx, func(configMap *corev1.ConfigMap) error {
		now, err := c.row(configMap)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrConflict, err)
		}
		if err := conflict(read, now); err != nil {
			return fmt.Errorf("acknowledge in configmap %s: %w", c.name, err)
		}
		text := attributes(row)
		for _, name := range append(rampNames(), currentWeight) {
			if value, ok := text[name]; ok {
				configMap.Data[name] = value
			} else {
				delete(configMap.Data, name)
			}
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return err
}

// Desire implements Store. It also repairs a DesiredWeight that is malformed or missing, but takes no ConfigMap from another cluster.
func (c *ConfigMap) Desire(ctx context.Context, weight int) error {
	if err := writable(Row{ClusterName: c.cluster, DesiredWeight: weight}); err != nil {
		return fmt.Errorf("desire in configmap %s: %w", c.name, err)
	}
	return c.update(ctx, func(configMap *corev1.ConfigMap) error {
		if err := c.owned(configMap); err != nil {
			return err
		}
		configMap.Data[desiredWeight] = attributes(Row{DesiredWeight: weight})[desiredWeight]
		return nil
	})
}

// Watch implements Watcher with an informer of the one ConfigMap. It returns nil when ctx has ended and changed will not be called any more. client-go
// logs what goes wrong meanwhile, such as missing permissions, and tries again with backoff.
func (c *ConfigMap) Watch(ctx context.Context, changed func()) error {
	informer := corev1informers.NewFilteredConfigMapInformer(c.kube, c.name.Namespace, 0, cache.Indexers{}, func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, c.name.Name).String()
	})
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changed() },
		UpdateFunc: func(any, any) { changed() },
		DeleteFunc: func(any) { changed() },
	})
	if err != nil {
		return fmt.Errorf("watch configmap %s: %w", c.name, err)
	}
	informer.RunWithContext(ctx)
	return nil
}

// update changes the ConfigMap as it is, and again after somebody else did so at the same time, until its time is over: then it is ErrConflict.
func (c *ConfigMap) update(ctx context.Context, change func(*corev1.ConfigMap) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.CallTimeout)
	defer cancel()
	for attempt := 0; ; attempt++ {
		configMap, err := c.get(ctx)
		if err != nil {
			return err
		}
		if configMap.Data == nil {
			configMap.Data = map[string]string{}
		}
		if err = change(configMap); err != nil {
			return err
		}
		_, err = c.kube.CoreV1().ConfigMaps(c.name.Namespace).Update(ctx, configMap, metav1.UpdateOptions{})
		if !apierrors.IsConflict(err) {
			return c.failed("update", err)
		}
		if !pause(ctx, attempt) { // others that write at the same time get out of step
			return fmt.Errorf("%w: %w", ErrConflict, c.failed("update", err))
		}
	}
}

func (c *ConfigMap) get(ctx context.Context) (*corev1.ConfigMap, error) {
	if err := ctx.Err(); err != nil {
		return nil, c.failed("get", err)
	}
	configMap, err := c.kube.CoreV1().ConfigMaps(c.name.Namespace).Get(ctx, c.name.Name, metav1.GetOptions{})
	return configMap, c.failed("get", err)
}

func (c *ConfigMap) row(configMap *corev1.ConfigMap) (Row, error) {
	if err := c.owned(configMap); err != nil {
		return Row{}, err
	}
	row, err := Row{}, misspelled(maps.Keys(configMap.Data))
	if err == nil {
		row, err = parse(c.cluster, configMap.Data)
	}
	if err != nil {
		return Row{}, fmt.Errorf("configmap %s of cluster %q: %w", c.name, c.cluster, err)
	}
	return row, nil
}

// owned returns an error about a ConfigMap that is another cluster's: both would acknowledge into it.
func (c *ConfigMap) owned(configMap *corev1.ConfigMap) error {
	if owner, ok := configMap.Data[clusterName]; ok && strings.TrimSpace(owner) != c.cluster {
		return fmt.Errorf("configmap %s: %w: %s is %q and this is cluster %q: give each cluster a ConfigMap of its own", c.name, ErrInvalid, clusterName, owner, c.cluster)
	}
	return nil
}

// failed says what an answer of the API server means; nil stays nil.
func (c *ConfigMap) failed(verb string, err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%s configmap %s: %w: %w", verb, c.name, ErrNotFound, err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s configmap %s: allow the verb %s on configmaps in the namespace: %w", verb, c.name, verb, err)
	}
	return fmt.Errorf("%s configmap %s: %w", verb, c.name, err)
}
