// Bento as its authors ship it, with only the components that the bench uses, since all of them take long to
// compile. The program, its command line and its defaults are theirs.
package main

import (
	"context"

	"github.com/warpstreamlabs/bento/public/service"

	_ "github.com/warpstreamlabs/bento/public/components/io"
	_ "github.com/warpstreamlabs/bento/public/components/kafka"
	_ "github.com/warpstreamlabs/bento/public/components/pure"
)

func main() {
	service.RunCLI(context.Background(), service.CLIOptSetBinaryName("bento"), service.CLIOptSetProductName("Bento"))
}
