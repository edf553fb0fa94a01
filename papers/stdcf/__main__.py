from papers.stdcf.run import main

main()
