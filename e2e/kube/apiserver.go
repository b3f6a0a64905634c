package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// apiServer is a kube-apiserver with one administrator.
type apiServer struct {
	options    options.CompletedOptions
	kubeconfig string // the administrator's
}

// newAPIServer prepares a server whose store listens at an address, and writes what it needs into dir.
func newAPIServer(ctx context.Context, dir, store string) (*apiServer, error) {
	keyFile := filepath.Join(dir, "service-account.key")
	if err := writeKey(keyFile); err != nil {
		return nil, err
	}
	token := rand.Text()
	tokenFile := filepath.Join(dir, "tokens.csv")
	if err := os.WriteFile(tokenFile, []byte(token+`,admin,admin,"system:masters"`+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("write the administrator's token: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the API: %w", err)
	}
	certDir := filepath.Join(dir, "certificates")
	run := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, set := range run.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse([]string{
		"--etcd-servers=http://" + store,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none", // an EndpointSlice with a loopback address is refused
		"--cert-dir=" + certDir,
		"--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + keyFile,
		"--service-account-signing-key-file=" + keyFile,
		"--token-auth-file=" + tokenFile,
		"--authorization-mode=RBAC",
		"--disable-admission-plugins=ServiceAccount", // nothing makes the tokens of pods
	}); err != nil {
		return nil, fmt.Errorf("flags of kube-apiserver: %w", err)
	}
	run.SecureServing.Listener = listener
	if err := run.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, fmt.Errorf("version and features of kube-apiserver: %w", err)
	}
	completed, err := run.Complete(ctx)
	if err != nil {
		return nil, fmt.Errorf("options of kube-apiserver: %w", err)
	}
	if err := utilerrors.NewAggregate(completed.Validate()); err != nil {
		return nil, fmt.Errorf("options of kube-apiserver: %w", err)
	}
	s := &apiServer{options: completed, kubeconfig: filepath.Join(dir, "kubeconfig")}
	return s, s.writeKubeconfig("https://"+listener.Addr().String(), filepath.Join(certDir, "apiserver.crt"), token)
}

// writeKey makes the key that signs the tokens of service accounts.
func writeKey(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the key of service accounts: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode the key of service accounts: %w", err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("write the key of service accounts: %w", err)
	}
	return nil
}

func (s *apiServer) writeKubeconfig(url, certFile, token string) error {
	ca, err := os.ReadFile(certFile) //nolint:gosec // kube-apiserver has just written it into our folder
	if err != nil {
		return fmt.Errorf("read the server's certificate: %w", err)
	}
	const name = "penstock"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: url, CertificateAuthorityData: ca}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	if err := clientcmd.WriteToFile(*config, s.kubeconfig); err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	return nil
}

func (s *apiServer) run(ctx context.Context) error {
	if err := app.Run(ctx, s.options); err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	return context.Canceled
}

// ready returns once the API says that it is ready.
func (s *apiServer) ready(ctx context.Context, timeout time.Duration) error {
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	if err != nil {
		return fmt.Errorf("read the cluster's kubeconfig: %w", err)
	}
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("client of the API: %w", err)
	}
	var last error
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		_, last = client.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the API to be ready: %w", errors.Join(err, last))
	}
	return nil
}
