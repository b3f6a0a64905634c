// Package awsenv reads the AWS configuration of the process' environment, with a limit for each request that follows from it.
package awsenv

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
)

// RequestTimeout bounds one request. A caller's deadline ends most of them before; the SDK gets credentials without it, because others may wait for the same.
// https://pkg.go.dev/github.com/aws/aws-sdk-go-v2/aws#CredentialsCache
const RequestTimeout = 20 * time.Second

// Load reads the configuration: variables, files, and what the instance says. That may take calls, which end with ctx.
// https://docs.aws.amazon.com/sdk-for-go/v2/developer-guide/configure-gosdk.html
func Load(ctx context.Context, options ...func(*config.LoadOptions) error) (aws.Config, error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	loaded, err := config.LoadDefaultConfig(ctx, append([]func(*config.LoadOptions) error{
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(RequestTimeout)),
	}, options...)...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("read the AWS configuration: %w", err)
	}
	return loaded, nil
}
