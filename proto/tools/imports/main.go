// Command imports writes the contracts of others that ours import, as .proto
// files, into a folder: printed from the descriptors in their Go modules, which
// go.sum verifies like any other code.
package main

import (
	"fmt"
	"os"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"github.com/jhump/protoreflect/v2/protoprint"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: imports <folder>")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "imports:", err)
		os.Exit(1)
	}
}

func write(folder string) error {
	all := map[string]protoreflect.FileDescriptor{}
	for _, file := range []protoreflect.FileDescriptor{
		validate.File_buf_validate_validate_proto,
		longrunningpb.File_google_longrunning_operations_proto,
	} {
		gather(file, all)
	}
	files := make([]protoreflect.FileDescriptor, 0, len(all))
	for _, file := range all {
		files = append(files, file)
	}
	return new(protoprint.Printer).PrintProtosToFileSystem(files, folder)
}

// gather adds a file and all that it imports, but for what every compiler brings.
func gather(file protoreflect.FileDescriptor, all map[string]protoreflect.FileDescriptor) {
	if all[file.Path()] != nil || file.Package() == "google.protobuf" {
		return
	}
	all[file.Path()] = file
	imports := file.Imports()
	for i := range imports.Len() {
		gather(imports.Get(i).FileDescriptor, all)
	}
}
