/* Runs a harness once on each file that is named, without libFuzzer: the corpus, as a test. */
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int main(int count, char **names) {
    static unsigned char data[1 << 20];
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(names[i], "rb");
        if (!file) {
            perror(names[i]);
            return 1;
        }
        size_t size = fread(data, 1, sizeof data, file);
        fclose(file);
        fprintf(stderr, "\r%s", names[i]); /* the last one, should it end the program */
        LLVMFuzzerTestOneInput(data, size);
    }
    fprintf(stderr, "\r%d inputs\n", count - 1);
    return 0;
}
