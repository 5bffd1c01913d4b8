package pipeline

// Stages of a load, and those of an export and a verification.
const (
	StageRead   = "read"   // the file is read and cleaned
	StageKeys   = "keys"   // ids are compared with each other and with those stored
	StageWrite  = "write"  // rows and rollups are written
	StageCommit = "commit" // the ledger is written, partitions are attached
	StageExport = "export" // files of an export are written
	StageVerify = "verify" // rows and rollups are compared
)

// Progress is how far a file's load, an export or a verification has come.
type Progress struct {
	Path    string
	Stage   string
	Rows    int64   // read so far
	Share   float64 // of all the work that is done, about; 0 to 1
	Seconds float64 // since it began
}
