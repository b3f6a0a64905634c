//go:build dynamodb

package store_test

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

var program = flag.String("dynoxide", filepath.Join("..", "..", "bin", "dynoxide"), "the server that speaks the protocol of DynamoDB; `make dynamodb` puts it there")

// server is one process for all tests; each test has a table of its own.
var server dynoxide

type dynoxide struct {
	once     sync.Once
	command  *exec.Cmd
	endpoint string
	err      error
}

// url starts the server at the first call.
func (d *dynoxide) url(t *testing.T) string {
	t.Helper()
	d.once.Do(func() { d.err = d.start(t.Context()) })
	if d.err != nil {
		t.Fatal(d.err)
	}
	return d.endpoint
}

func (d *dynoxide) start(ctx context.Context) error {
	path, err := filepath.Abs(*program)
	if err != nil {
		return err
	}
	if _, err := exec.LookPath(path); err != nil {
		return fmt.Errorf("the server for these tests is missing, run `make dynamodb`: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		return err
	}
	// It serves tests that run after the one whose context this is.
	d.command = exec.CommandContext(context.WithoutCancel(ctx), path, "--host", "127.0.0.1", "--port", strconv.Itoa(port))
	if err := d.command.Start(); err != nil {
		return err
	}
	d.endpoint = fmt.Sprintf("http://127.0.0.1:%d", port)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err = newClient(d.endpoint, transport).ListTables(ctx, &dynamodb.ListTablesInput{}, func(o *dynamodb.Options) {
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff, o.RateLimiter = 1000, 100*time.Millisecond, ratelimit.None
		})
	})
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", path, err)
	}
	return nil
}

func newClient(endpoint string, transport http.RoundTripper) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		BaseEndpoint: aws.String(endpoint), Region: "eu-west-1", HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
	})
}

func (d *dynoxide) stop() {
	if d.command != nil && d.command.Process != nil {
		_ = d.command.Process.Kill() // it may have ended by itself
		_ = d.command.Wait()
	}
}

func init() {
	subjects["DynamoDB"] = newDynamoDB
	atEnd = server.stop
}
