from papers.pmscn.run import main

main()
